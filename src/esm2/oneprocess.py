"""What has threads or connections is of use only in the process that made it.

A fork copies the memory of a process and none of its threads: whoever asks a copy waits for
threads that are not there. So the copy refuses, at once.
"""

from __future__ import annotations

import os
from typing import NoReturn


class OneProcess:
    """Base of a loaded model and of clients."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = os.getpid()

    @property
    def _elsewhere(self) -> bool:
        """Whether this is a copy, in a process that was forked off."""
        return os.getpid() != self._pid

    def _refuse_elsewhere(self) -> None:
        """
        Raises:
            RuntimeError: this is a copy.
        """
        if self._elsewhere:
            raise RuntimeError(
                f"this {self._what} was made before a fork: load it in the worker, or start workers"
                " with multiprocessing.get_context('spawn')"
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {self._what} cannot be sent to another process: load it in the worker")
