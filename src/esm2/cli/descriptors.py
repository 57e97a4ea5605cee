"""How many connections a server may have: as many as it wants and its files allow.

    limit of open files  =  those that are open  +  a reserve  +  connections

Without files nothing can be accepted, refused or restarted, so the bound is below the limit; who
comes when it is reached is accepted and closed at once. A loop accepts only a few at a time,
because it closes those that are too many a few steps after it has accepted them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ModuleNotFoundError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

_log = logging.getLogger("esm2.server")

#: Connections that a loop accepts in one step; and those that may wait for it, in the kernel.
ACCEPTED_AT_ONCE, WAITING = 4, 2048

# Files for connections that are being closed, databases, and a worker that is started anew.
_RESERVE = 40
_MOST_OPEN = 64  # where it cannot be seen
_A_MINUTE = 60.0


def connections(wanted: int) -> int:
    """Raise the limit of open files as far as `wanted` connections need, and count those it allows.

    Returns:
        at most `wanted`, at least 1.
    """
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    beside = _open_files() + _RESERVE
    if soft != resource.RLIM_INFINITY and soft < wanted + beside:
        goal = wanted + beside
        soft = goal if hard == resource.RLIM_INFINITY else min(goal, hard)
        with suppress(ValueError, OSError):  # macOS has a further limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - beside))


def _open_files() -> int:
    for place in ("/proc/self/fd", "/dev/fd"):
        if Path(place).is_dir():
            return sum(1 for _ in Path(place).iterdir())
    return _MOST_OPEN


class Refused:
    """Counts connections that are closed because there are too many; a line a minute at most.

    Args:
        limit: of connections.
        now: a clock, in seconds.
    """

    def __init__(self, limit: int, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now = now
        self._count = 0
        self._told = -_A_MINUTE

    def one_more(self) -> None:
        """Another one is closed."""
        self._count += 1
        if self._now() - self._told >= _A_MINUTE:
            _log.warning(
                "closed at once: %d connections; there may be %d (--max-connections, and the limit"
                " of open files)",
                self._count,
                self._limit,
            )
            self._count, self._told = 0, self._now()
