"""Batching: requests of everyone who asks share forward passes.

    submit(request) -> Future          any thread
         queue, fair between callers, bounded in cost and in expected waiting time
    a thread for each executor: take what is next, fill the batch up to the budget, run, settle

A lone request never waits for others: batches form only out of what queues up while the executors
are busy. What a caller who has left (its future was cancelled) had waiting is out of the queue and
out of its bounds at once. A batch that fails is split
to find out whose fault it was, so it fails that request and nothing else. Every future is settled
exactly once, also when the batcher closes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from esm2.errors import EngineError, EngineLost, Esm2Error, Overloaded, ShuttingDown
from esm2.fairqueue import FairQueue, Place
from esm2.types import Executor, ForwardRequest, Outputs
from esm2.watch import Pass, Watch, nobody

# Seconds of computing that the measured speed looks back on.
_MEMORY = 30.0
# Cost that a batch may have however long it takes: with less, weights are read for too little.
_WORTH_A_PASS = 512


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


@dataclass(frozen=True, slots=True)
class Running:
    """A pass that an executor is busy with.

    Attributes:
        elapsed: seconds so far.
        expected: seconds that it should take at the speed of the passes before it; 0 when unknown.
    """

    elapsed: float
    expected: float


class Ticket(Future[Outputs]):
    """The future of a request.

    Attributes:
        begun: when its pass began, `time.monotonic`; 0 as long as it waits.
    """

    begun = 0.0

    def set_running_or_notify_cancel(self) -> bool:
        self.begun = time.monotonic()
        return super().set_running_or_notify_cancel()


@dataclass(slots=True, eq=False)
class _Waiting:
    request: ForwardRequest
    cost: int
    work: float
    caller: str
    since: float
    future: Ticket = field(default_factory=Ticket)
    place: Place | None = None  # while it waits


class _Speed:
    """Work done in a second of computing, the recent past counting most."""

    def __init__(self) -> None:
        self._work = self._seconds = 0.0

    def saw(self, work: float, seconds: float) -> None:
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


class Batcher:
    """A queue in front of executors.

    Args:
        executors: each computes a batch; called from a thread of its own, one batch at a time.
        cost: what a request takes of a batch's budget, in tokens.
        work: what a request takes of the time, in any unit; its cost, if not said.
        budget: what may run at once and what may wait.
        name: of the model.
        watch: told of each pass.
    """

    def __init__(
        self,
        executors: Sequence[Executor],
        cost: Callable[[ForwardRequest], int],
        budget: Budget,
        *,
        work: Callable[[ForwardRequest], float] | None = None,
        name: str = "esm2",
        watch: Watch = nobody,
    ) -> None:
        self._cost = cost
        self._work = work or cost
        self._budget = budget
        self._name = name
        self._watch = watch
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._queued = 0  # cost
        self._share: dict[str, tuple[int, float]] = {}  # caller -> cost and work that wait
        self._speed = _Speed()
        self._pace = _Speed()  # the same in tokens, which people know
        self._running: dict[int, tuple[float, float]] = {}  # executor -> begun, work
        self._closing = False
        self._changed = threading.Condition()
        self._executors = tuple(executors)
        self._threads = [
            threading.Thread(target=self._serve, args=(index,), name=f"batcher-{name}", daemon=True)
            for index in range(len(executors))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Cost that waits now, in tokens."""
        return self._queued

    @property
    def age(self) -> float:
        """Seconds that the oldest request has waited; 0 when nothing waits."""
        with self._changed:
            oldest = min((waiting.since for waiting in self._queue), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    @property
    def tokens_per_second(self) -> float:
        """Of one executor while it computes, in the recent past; 0 when nothing was measured."""
        return self._pace.rate

    def running(self) -> list[Running]:
        """The passes that are being computed now."""
        with self._changed:
            now = time.monotonic()
            return [
                Running(now - begun, self._speed.seconds(work))
                for begun, work in self._running.values()
            ]

    def submit(
        self, request: ForwardRequest, *, first: bool = False, caller: str = ""
    ) -> Future[Outputs]:
        """Queue one sequence.

        Args:
            request: one sequence.
            first: go before everyone else and never be refused; for health checks.
            caller: for whom it is; callers take turns.

        Returns:
            a future; cancelling it before its batch starts takes it out of the queue.

        Raises:
            Overloaded: more waits already than may wait, for this caller.
            ShuttingDown: the batcher is closed.
        """
        if not first:
            return self.submit_all([request], caller)[0]
        waiting = self._waiting(request, "")
        with self._changed:
            if self._closing:
                raise ShuttingDown
            self._queue.put_ahead(waiting)
            self._count(waiting, +1)
            self._changed.notify()
        return waiting.future

    def submit_all(
        self, requests: Sequence[ForwardRequest], caller: str = ""
    ) -> list[Future[Outputs]]:
        """Queue sequences that belong together: all of them, or none.

        Raises:
            Overloaded, ShuttingDown: as `submit`; nothing was queued.
        """
        all_waiting = [self._waiting(request, caller) for request in requests]
        with self._changed:
            if self._closing:
                raise ShuttingDown
            cost = sum(waiting.cost for waiting in all_waiting)
            self._admit(cost, caller)
            # What takes several passes lets what takes one pass by, until it should be done itself.
            work = sum(waiting.work for waiting in all_waiting)
            _, before = self._share.get(caller, (0, 0.0))
            lets_pass = before + work if cost > self._budget.pack_tokens else 0.0
            for waiting in all_waiting:
                waiting.place = self._queue.put(waiting, caller, waiting.work, lets_pass)
                self._count(waiting, +1)
                waiting.future.add_done_callback(partial(self._given_up, waiting))
            self._changed.notify_all()
        return [waiting.future for waiting in all_waiting]

    def _waiting(self, request: ForwardRequest, caller: str) -> _Waiting:
        cost, work = self._cost(request), self._work(request)
        return _Waiting(request, cost, work, caller, time.monotonic())

    def _given_up(self, waiting: _Waiting, future: Future[Outputs]) -> None:
        """What somebody cancels stops waiting at once."""
        if not future.cancelled():
            return
        with self._changed:
            if waiting.place is not None:
                self._queue.drop(waiting.place, waiting.caller)
                waiting.place = None
                self._count(waiting, -1)

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
        wait = self._speed.seconds(ahead) / len(self._executors)
        too_long = wait - self._budget.max_wait_seconds
        if self._queued + cost > limit and (own_cost + cost) * callers > limit:
            # In so many seconds the room for this request will have come free.
            share = min(1.0, cost / max(1, self._queued))
            raise Overloaded(self._queued, limit, max(1, math.ceil(max(wait * share, too_long))))
        if too_long > 0:
            raise Overloaded(self._queued, limit, max(1, math.ceil(too_long)), wait)

    def _count(self, waiting: _Waiting, sign: int) -> None:
        self._queued += sign * waiting.cost
        cost, work = self._share.get(waiting.caller, (0, 0.0))
        cost += sign * waiting.cost
        if cost:
            self._share[waiting.caller] = (cost, work + sign * waiting.work)
        else:
            self._share.pop(waiting.caller, None)

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests and stop.

        Args:
            drain: compute what is queued first; otherwise it fails with ShuttingDown.
        """
        with self._changed:
            self._closing = True
            abandoned = [] if drain else self._queue.clear()
            for waiting in abandoned:
                waiting.place = None
                self._count(waiting, -1)
            self._changed.notify_all()
        for waiting in abandoned:
            if waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(ShuttingDown())
        for thread in self._threads:
            thread.join()

    # --- the threads ---------------------------------------------------------------------------

    def _serve(self, index: int) -> None:
        while batch := self._take(index):
            self._run(index, batch)
            with self._changed:
                del self._running[index]
                self._changed.notify_all()

    def _run(self, index: int, batch: list[_Waiting], *, again: bool = True) -> None:
        """Compute a batch; if it fails, its halves; a single request whose engine died, once more.

        An engine can die of something else than what it computes. What it died of twice, it is.
        """
        begun = time.monotonic()
        try:
            outputs = self._executors[index]([waiting.request for waiting in batch])
            results = list(zip(batch, outputs, strict=True))
        except BaseException as error:
            # Whatever it was, it is an answer to these requests; the thread must live on.
            failure = error if isinstance(error, Esm2Error) else _as_engine_error(error)
            self._tell(batch, begun, failure.code)
            if isinstance(failure, EngineError) and len(batch) > 1:
                middle = len(batch) // 2
                self._run(index, batch[:middle])
                self._run(index, batch[middle:])
            elif isinstance(failure, EngineLost) and again:
                self._run(index, batch, again=False)
            else:
                for waiting in batch:
                    waiting.future.set_exception(failure.again())
        else:
            seconds = time.monotonic() - begun
            with self._changed:
                self._speed.saw(sum(own.work for own in batch), seconds)
                self._pace.saw(sum(len(own.request.tokens) for own in batch), seconds)
            self._tell(batch, begun, "")
            for waiting, output in results:
                waiting.future.set_result(output)

    def _tell(self, batch: list[_Waiting], begun: float, failed: str) -> None:
        self._watch(
            Pass(
                slug=self._name,
                requests=len(batch),
                tokens=sum(len(waiting.request.tokens) for waiting in batch),
                cost=sum(waiting.cost for waiting in batch),
                waited=begun - min(waiting.since for waiting in batch),
                seconds=time.monotonic() - begun,
                failed=failed,
            )
        )

    def _take(self, index: int) -> list[_Waiting]:
        """The next batch; waits for one. Empty when closed and drained."""
        with self._changed:
            while True:
                batch = self._fill()
                if batch:
                    work = sum(waiting.work for waiting in batch)
                    self._running[index] = (time.monotonic(), work)
                    return batch
                if self._closing and not self._queue:
                    return []
                self._changed.wait()

    def _fill(self) -> list[_Waiting]:
        """What is next, up to the budget.

        Where there are several executors, the last free one is kept for what is short: it takes no
        request that is above the budget of a batch.
        """
        limit = self._budget.pack_tokens
        last_free = len(self._executors) - len(self._running) == 1 < len(self._executors)
        batch: list[_Waiting] = []
        total, work = 0, 0.0

        def suits(waiting: _Waiting) -> bool:
            if waiting.future.cancelled():  # to be dropped
                return True
            if not batch:
                return not last_free or waiting.cost <= limit
            after, seconds = total + waiting.cost, self._speed.seconds(work + waiting.work)
            return after <= limit and (
                after <= _WORTH_A_PASS or seconds <= self._budget.pass_seconds
            )

        # Only the first of a batch may be looked for behind others.
        while (waiting := self._queue.pop(suits, anywhere=not batch)) is not None:
            waiting.place = None
            self._count(waiting, -1)
            # False for a caller who left; from here on it can no longer be cancelled.
            if waiting.future.set_running_or_notify_cancel():
                batch.append(waiting)
                total += waiting.cost
                work += waiting.work
        return batch


def _as_engine_error(error: BaseException) -> EngineError:
    wrapped = EngineError(f"the forward pass failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
