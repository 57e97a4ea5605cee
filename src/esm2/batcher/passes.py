"""The passes of a batcher's executors: what runs, and how fast that went so far."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from esm2.batcher.line import Waiting

# Seconds of computing that the measured speed looks back on.
_MEMORY = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A pass that an executor is busy with.

    Attributes:
        elapsed: seconds so far, but for those in which it stopped for others.
        expected: seconds that it should take at the speed of the passes before it; 0 when unknown.
    """

    elapsed: float
    expected: float


@dataclass(slots=True, eq=False)
class Pass:
    """A batch that is being computed.

    Attributes:
        caller: of all its requests; None where several callers share it.
        alone: it is a single request.
        again: some of it was computed before, and failed.
        begun: `time.monotonic`.
        stopped: seconds in which others went ahead.
        passed: work of those who did.
    """

    work: float
    caller: str | None
    alone: bool
    again: bool
    begun: float = field(default_factory=time.monotonic)
    stopped: float = 0.0
    passed: float = 0.0

    @classmethod
    def of(cls, batch: Sequence[Waiting]) -> Pass:
        callers = {own.caller for own in batch}
        return cls(
            sum(own.work for own in batch),
            callers.pop() if len(callers) == 1 else None,
            len(batch) == 1,
            any(own.lost for own in batch),
        )

    @property
    def elapsed(self) -> float:
        """Seconds of its own so far."""
        return time.monotonic() - self.begun - self.stopped


class Speed:
    """Work done in a second of computing, the recent past counting most."""

    def __init__(self) -> None:
        self._work = self._seconds = 0.0

    def saw(self, work: float, seconds: float) -> None:
        """Count some work that took so long."""
        keep = math.exp(-seconds / _MEMORY)
        self._work = self._work * keep + work
        self._seconds = self._seconds * keep + seconds

    def seconds(self, work: float) -> float:
        """What some work takes; 0 as long as nothing was measured."""
        return work * self._seconds / self._work if self._work else 0.0

    @property
    def rate(self) -> float:
        """Work in a second; 0 as long as nothing was measured."""
        return self._work / self._seconds if self._seconds else 0.0
