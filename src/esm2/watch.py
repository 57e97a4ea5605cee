"""What whoever watches a running system is told: a value for each thing that happened.

    batcher, worker  ->  Event  ->  Watch          metrics, or nobody

A watcher is a function of an event. It is called from the thread in which it happened, so it has
to be quick, and must not raise. No event holds a sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pass:
    """A batch went through an executor, or failed.

    Attributes:
        slug: of the model.
        requests: sequences in it.
        tokens: of all of them together, BOS and EOS included.
        cost: in tokens, what it took of the budget (`budget.cost`).
        waited: seconds that the oldest of them had waited.
        seconds: from the call of the executor to its answer.
        failed: code of the error that it came to; empty if it did not fail.
    """

    slug: str
    requests: int
    tokens: int
    cost: int
    waited: float
    seconds: float
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """The process of an engine had died, or was killed, and another one took its place.

    Attributes:
        slug: of the model.
        reason: code of the error that told it, such as "engine.crashed", "engine.hung".
    """

    slug: str
    reason: str


Event = Pass | Restart
Watch = Callable[[Event], None]


def nobody(_: Event) -> None:
    """Watches nothing."""
