"""When to ask again: how long to wait after a failure, and when to give up. Pure.

    failure 1   2   3   4 ...        pauses double up to `longest`, each by chance 50 to 100 %,
    pause  0.5  1   2   4 ...        so that callers who failed together come back one by one

A server that says when to come back (Retry-After) is not asked before that.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from esm2.arguments import seconds, whole

# From here on doubling changes nothing; it keeps 2**n a small number.
_MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Retry:
    """How patient a client is with a server that is full, restarting or hard to reach.

    Attributes:
        attempts: how often one request is sent at most.
        attempts_at_first: the same, as long as the server has never answered at all.
        total: seconds that one request may spend waiting between attempts.
        first, longest: seconds of the first pause, and of any.
        wait: how to wait some seconds.
        chance: a number in 0..1, another each time.

    Raises:
        TypeError, ValueError: one of the numbers cannot be; it says which.
    """

    attempts: int = 24
    attempts_at_first: int = 3
    total: float = 600.0
    first: float = 0.5
    longest: float = 30.0
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        for name in ("attempts", "attempts_at_first"):
            if whole(getattr(self, name), name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least one is needed")
        for name in ("total", "first", "longest"):
            seconds(getattr(self, name), name)

    def pause(self, failures: int, waited: float, asked: float | None) -> float | None:
        """Seconds to wait before the next attempt, or None to give up.

        Args:
            failures: attempts so far.
            waited: seconds waited so far.
            asked: seconds for which the server asks to be left alone.
        """
        if failures >= self.attempts:
            return None
        doubled = self.first * 2 ** min(failures - 1, _MOST_DOUBLINGS)
        own = min(self.longest, doubled) * (1 + self.chance()) / 2
        pause = own if asked is None else asked + self.first * self.chance()
        return pause if waited + pause <= self.total else None


def seconds_asked(retry_after: str | None, now: datetime) -> float | None:
    """What a Retry-After header asks for, in seconds from now; None where it says nothing.

    Source: RFC 9110, 10.2.3: a whole number of seconds, or a date.
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
