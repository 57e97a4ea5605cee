"""What waits for a batcher's executors: who is admitted, who is next.

Nothing here locks: the batcher calls it under its own lock.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from esm2.errors import Overloaded
from esm2.fairqueue import FairQueue, Place
from esm2.types import ForwardRequest, Outputs

#: Cost that a batch may have however long it takes: with less, weights are read for too little.
WORTH_A_PASS = 512


@dataclass(frozen=True, slots=True)
class Budget:
    """What may run at once, and what may wait.

    Attributes:
        pack_tokens: cost of a batch; a request above it runs alone.
        queue_tokens: cost that may wait; beyond it a caller is refused who has more than its share
            of that waiting.
        max_wait_seconds: the longest that a request may be expected to wait.
        pass_seconds: what requests that share a batch may take, so that who comes next waits no
            longer; a request alone, and some that are short, may take longer.
    """

    pack_tokens: int
    queue_tokens: int
    max_wait_seconds: float = math.inf
    pass_seconds: float = math.inf


class Ticket(Future[Outputs]):
    """The future of a request.

    Attributes:
        begun: when its pass began, `time.monotonic`; 0 as long as it waits.
    """

    begun = 0.0

    def set_running_or_notify_cancel(self) -> bool:
        self.begun = time.monotonic()
        return super().set_running_or_notify_cancel()


@dataclass(slots=True, eq=False, weakref_slot=True)
class Waiting:
    """A request that waits, or is computed.

    Attributes:
        since: when it came, `time.monotonic`.
        lost: it went ahead of a request with which its executor was lost.
    """

    request: ForwardRequest
    cost: int
    work: float
    caller: str
    since: float = field(default_factory=time.monotonic)
    future: Ticket = field(default_factory=Ticket)
    place: Place | None = None  # while it waits
    lost: bool = False

    def begin(self) -> bool:
        """Whether it is to be computed; from here on it can no longer be cancelled."""
        return self.lost or self.future.set_running_or_notify_cancel()


#: Whether a request may join a batch of which the cost and the work so far are these.
Suits = Callable[[Waiting, int, float], bool]


class Line:
    """Requests that wait, fair between callers, bounded in cost and in expected waiting time.

    Args:
        budget: what may wait.
        seconds: what some work takes an executor.
        executors: how many there are.
        apart: whether who has much waiting shares no batch with others. They would wait for a
            whole batch of it; where executors give way, they go ahead of that instead.
    """

    def __init__(
        self,
        budget: Budget,
        seconds: Callable[[float], float],
        executors: int,
        *,
        apart: bool = False,
    ) -> None:
        self._budget = budget
        self._seconds = seconds
        self._executors = executors
        self._apart = apart
        self._queue: FairQueue[Waiting] = FairQueue()
        self._share: dict[str, tuple[int, float]] = {}  # caller -> cost and work that wait
        self._short: Counter[str] = Counter()  # caller -> requests that are worth no pass alone
        self.queued = 0  # cost

    def __bool__(self) -> bool:
        return bool(self._queue)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._queue)

    def has_short(self, but: str | None = None) -> bool:
        """Whether something waits that is worth no pass alone, of anybody but one caller."""
        return any(count for caller, count in self._short.items() if caller != but)

    def put(self, together: Sequence[Waiting], caller: str) -> None:
        """Queue all of these, of one caller, or none.

        Raises:
            Overloaded: more waits already than may wait, for this caller.
        """
        cost = sum(own.cost for own in together)
        self._admit(cost, caller)
        # What takes several passes lets what takes one pass by, until it should be done itself.
        work = sum(own.work for own in together)
        _, before = self._share.get(caller, (0, 0.0))
        lets_pass = before + work if cost > self._budget.pack_tokens else 0.0
        for own in together:
            own.place = self._queue.put(own, caller, own.work, lets_pass)
            self._count(own, +1)

    def put_first(self, waiting: Waiting) -> None:
        """Queue a request before everyone else's; it is never refused."""
        self._queue.put_ahead(waiting)
        self._count(waiting, +1)

    def drop(self, waiting: Waiting) -> None:
        """Take out what `put` queued, if it still waits."""
        if waiting.place is not None:
            self._queue.drop(waiting.place, waiting.caller)
            waiting.place = None
            self._count(waiting, -1)

    def clear(self) -> list[Waiting]:
        """Take everything, in no order."""
        everything = self._queue.clear()
        for waiting in everything:
            waiting.place = None
            self._count(waiting, -1)
        return everything

    def next(self, suits: Suits, look: int = sys.maxsize) -> list[Waiting]:
        """What is next, as far as it suits, as a batch that has begun.

        Args:
            look: at how many requests, for the first of the batch; others are not looked for.
        """
        batch: list[Waiting] = []
        cost, work, of_first = 0, 0.0, 0

        def joins(waiting: Waiting) -> bool:
            # What was cancelled is taken to be dropped.
            return waiting.future.cancelled() or suits(waiting, cost, work)

        def shares(waiting: Waiting) -> bool:
            return joins(waiting) and not self._has_much(waiting.caller)

        def another() -> Waiting | None:
            if not batch:
                return self._queue.pop(joins, look=look)
            if not self._apart:
                return self._queue.pop(joins, look=1)
            first = batch[0].caller
            if self._has_much(first, of_first):
                return self._queue.pop_of(first, joins)
            return self._queue.pop(shares, look=1)

        while waiting := another():
            waiting.place = None
            self._count(waiting, -1)
            if waiting.begin():
                batch.append(waiting)
                cost += waiting.cost
                work += waiting.work
                of_first += waiting.cost * (waiting.caller == batch[0].caller)
        return batch

    def _has_much(self, caller: str, taken: int = 0) -> bool:
        """Whether a caller fills a pass, with what it has waiting and what was taken of that."""
        return self._share.get(caller, (0, 0.0))[0] + taken > WORTH_A_PASS

    def _admit(self, cost: int, caller: str) -> None:
        """Refuse what would wait too long, or what would fill the queue beyond its bound.

        An empty queue takes anything: a single request is never too large to wait. When there are
        several callers, each has a share of the bound that others cannot use up.
        """
        if not self._queue:
            return
        own_cost, own_work = self._share.get(caller, (0, 0.0))
        callers = self._queue.callers + (not self._queue.has(caller))
        limit = self._budget.queue_tokens
        ahead = min(own_work * callers, sum(work for _, work in self._share.values()))
        wait = self._seconds(ahead) / self._executors
        too_long = wait - self._budget.max_wait_seconds
        if self.queued + cost > limit and (own_cost + cost) * callers > limit:
            # In so many seconds the room for this request will have come free.
            share = min(1.0, cost / max(1, self.queued))
            raise Overloaded(self.queued, limit, max(1, math.ceil(max(wait * share, too_long))))
        if too_long > 0:
            raise Overloaded(self.queued, limit, max(1, math.ceil(too_long)), wait)

    def _count(self, waiting: Waiting, sign: int) -> None:
        self.queued += sign * waiting.cost
        self._short[waiting.caller] += sign * (waiting.cost <= WORTH_A_PASS)
        cost, work = self._share.get(waiting.caller, (0, 0.0))
        cost += sign * waiting.cost
        if cost:
            self._share[waiting.caller] = (cost, work + sign * waiting.work)
        else:
            self._share.pop(waiting.caller, None)
            del self._short[waiting.caller]
