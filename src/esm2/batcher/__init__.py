"""Batching: requests of everyone who asks share forward passes.

    submit(request) -> Future          any thread
         line       fair between callers, bounded in cost and in expected waiting time
    a thread for each executor: take what is next, fill the batch up to the budget, run, settle
    another, where executors give way: what is short goes ahead of a request that takes long

A lone request never waits for others: batches form only out of what queues up while the executors
are busy. What a caller who has left (its future was cancelled) had waiting is out of the queue and
out of its bounds at once. A batch that fails is split to find out whose fault it was, so it fails
that request and nothing else. Every future is settled exactly once, also when the batcher closes.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from esm2 import watch as watching
from esm2.batcher.line import WORTH_A_PASS, Budget, Line, Ticket, Waiting
from esm2.batcher.passes import Pass, Running, Speed
from esm2.errors import EngineError, EngineLost, Esm2Error, ShuttingDown
from esm2.types import Executor, ForwardRequest, Outputs
from esm2.watch import Watch, nobody

__all__ = ["WORTH_A_PASS", "Batcher", "Budget", "Running", "Ticket"]

# What goes ahead of a request is at most so much of its work at a time, and all of it together.
_SHORT = 0.25
# Where so many that are next do not suit, nobody goes ahead: looking must not take long either.
_LOOK = 64


class Batcher:
    """A queue in front of executors.

    Args:
        executors: each computes a batch; called from a thread of its own, one batch at a time.
        cost: what a request takes of a batch's budget, in tokens.
        work: what a request takes of the time, in any unit; its cost, if not said.
        budget: what may run at once and what may wait.
        name: of the model.
        watch: told of each pass.
        ahead: one for each executor, or none: each computes a batch while the executor computes
            another, which stops for it.
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
        ahead: Sequence[Executor] = (),
    ) -> None:
        self._cost = cost
        self._work = work or cost
        self._budget = budget
        self._name = name
        self._watch = watch
        self._speed = Speed()
        self._pace = Speed()  # the same in tokens, which people know
        self._line = Line(budget, self._speed.seconds, len(executors), apart=bool(ahead))
        self._running: dict[int, Pass] = {}  # of executors
        self._running_ahead: dict[int, Pass] = {}
        self._closing = False
        self._changed = threading.Condition()
        self._executors = tuple(executors)
        self._ahead = tuple(ahead)
        serving = [(self._serve, index) for index in range(len(executors))]
        serving += [(self._serve_ahead, index) for index in range(len(ahead))]
        self._threads = [
            threading.Thread(target=serve, args=(index,), name=f"batcher-{name}", daemon=True)
            for serve, index in serving
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Cost that waits now, in tokens."""
        return self._line.queued

    @property
    def age(self) -> float:
        """Seconds that the oldest request has waited; 0 when nothing waits."""
        with self._changed:
            oldest = min((waiting.since for waiting in self._line), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    @property
    def tokens_per_second(self) -> float:
        """Of one executor while it computes, in the recent past; 0 when nothing was measured."""
        return self._pace.rate

    def running(self) -> list[Running]:
        """The passes that are being computed now."""
        with self._changed:
            return [
                Running(own.elapsed, self._speed.seconds(own.work))
                for own in (*self._running.values(), *self._running_ahead.values())
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
            self._line.put_first(waiting)
            self._changed.notify_all()
        return waiting.future

    def submit_all(
        self, requests: Sequence[ForwardRequest], caller: str = ""
    ) -> list[Future[Outputs]]:
        """Queue sequences that belong together: all of them, or none.

        Raises:
            Overloaded, ShuttingDown: as `submit`; nothing was queued.
        """
        together = [self._waiting(request, caller) for request in requests]
        with self._changed:
            if self._closing:
                raise ShuttingDown
            self._line.put(together, caller)
            for waiting in together:
                # A future keeps its callbacks, and would with them keep itself, and the outputs.
                given_up = partial(self._given_up, weakref.ref(waiting))
                waiting.future.add_done_callback(given_up)
            self._changed.notify_all()
        return [waiting.future for waiting in together]

    def _waiting(self, request: ForwardRequest, caller: str) -> Waiting:
        return Waiting(request, self._cost(request), self._work(request), caller)

    def _given_up(self, whose: weakref.ref[Waiting], future: Future[Outputs]) -> None:
        """What somebody cancels stops waiting at once."""
        waiting = whose()
        if waiting is not None and future.cancelled():
            with self._changed:
                self._line.drop(waiting)

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests and stop.

        Args:
            drain: compute what is queued first; otherwise it fails with ShuttingDown.
        """
        with self._changed:
            self._closing = True
            abandoned = [] if drain else self._line.clear()
            self._changed.notify_all()
        for waiting in abandoned:
            if waiting.begin():
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
            del batch  # which would stay, with its outputs, until there is another

    def _take(self, index: int) -> list[Waiting]:
        """The next batch; waits for one. Empty when closed and drained."""
        with self._changed:
            while True:
                batch = self._line.next(self._suits)
                if batch:
                    self._running[index] = Pass.of(batch)
                    self._changed.notify_all()  # somebody may go ahead of it
                    return batch
                if self._closing and not self._line:
                    return []
                self._changed.wait()

    def _suits(self, waiting: Waiting, cost: int, work: float) -> bool:
        """Whether a request may join a batch, up to the budget.

        Where there are several executors, the last free one is kept for what is short: it takes no
        request that is above the budget of a batch.
        """
        limit = self._budget.pack_tokens
        if not cost:
            last_free = len(self._executors) - len(self._running) == 1 < len(self._executors)
            return not last_free or waiting.cost <= limit
        after, seconds = cost + waiting.cost, self._speed.seconds(work + waiting.work)
        return after <= limit and (after <= WORTH_A_PASS or seconds <= self._budget.pass_seconds)

    def _run(self, index: int, batch: list[Waiting], *, again: bool = True) -> None:
        """Compute a batch; if it fails, its halves; a single request whose engine died, once more.

        An engine can die of something else than what it computes. What it died of twice, it is.
        """
        running = self._running[index]
        before = running.elapsed
        given = self._computed(self._executors[index], batch)
        if not isinstance(given, Esm2Error):
            self._settle(batch, given, running.elapsed - before)
            return
        with self._changed:
            running.again = True  # nobody is to go ahead any more, and be lost with it
        if isinstance(given, EngineError) and len(batch) > 1:
            middle = len(batch) // 2
            self._run(index, batch[:middle])
            self._run(index, batch[middle:])
        elif isinstance(given, EngineLost) and again:
            self._run(index, batch, again=False)
        else:
            _fail(batch, given)

    def _computed(self, executor: Executor, batch: list[Waiting]) -> list[Outputs] | Esm2Error:
        begun = time.monotonic()
        try:
            outputs = executor([waiting.request for waiting in batch])
            if len(outputs) != len(batch):
                raise ValueError(f"{len(outputs)} outputs of {len(batch)} requests")
        except BaseException as error:
            # Whatever it was, it is an answer to these requests; the thread must live on.
            failure = error if isinstance(error, Esm2Error) else _as_engine_error(error)
            self._tell(batch, begun, failure.code)
            return failure
        self._tell(batch, begun, "")
        return outputs

    def _settle(self, batch: list[Waiting], outputs: list[Outputs], seconds: float) -> None:
        with self._changed:
            self._speed.saw(sum(own.work for own in batch), seconds)
            self._pace.saw(sum(len(own.request.tokens) for own in batch), seconds)
        for waiting, output in zip(batch, outputs, strict=True):
            waiting.future.set_result(output)

    def _tell(self, batch: list[Waiting], begun: float, failed: str) -> None:
        self._watch(
            watching.Pass(
                slug=self._name,
                requests=len(batch),
                tokens=sum(len(waiting.request.tokens) for waiting in batch),
                cost=sum(waiting.cost for waiting in batch),
                waited=begun - min(waiting.since for waiting in batch),
                seconds=time.monotonic() - begun,
                failed=failed,
            )
        )

    # --- going ahead ---------------------------------------------------------------------------

    def _serve_ahead(self, index: int) -> None:
        while taken := self._take_ahead(index):
            batch, behind = taken
            self._run_ahead(index, batch)
            with self._changed:
                behind.stopped += self._running_ahead.pop(index).elapsed
                self._changed.notify_all()
            del taken, batch, behind  # as above

    def _take_ahead(self, index: int) -> tuple[list[Waiting], Pass] | None:
        """What goes ahead, and of which pass; waits for it. None when closed."""
        with self._changed:
            while not self._closing:
                behind = self._running.get(index)
                if behind is not None and self._lets_by(behind):
                    batch = self._line.next(partial(self._may_go_ahead, behind), _LOOK)
                    if batch:
                        own = self._running_ahead[index] = Pass.of(batch)
                        behind.passed += own.work
                        return batch, behind
                self._changed.wait()
        return None

    def _lets_by(self, running: Pass) -> bool:
        """Whether somebody waits who could go ahead of a pass."""
        return (
            not running.again
            and running.caller is not None
            and running.passed < running.work
            and len(self._running) == len(self._executors)
            and self._line.has_short(None if self._is_long(running) else running.caller)
        )

    def _is_long(self, running: Pass) -> bool:
        """Whether even its own caller's requests go ahead of a pass: it could not be shorter."""
        return running.alone and self._speed.seconds(running.work) > self._budget.pass_seconds

    def _may_go_ahead(self, behind: Pass, waiting: Waiting, cost: int, work: float) -> bool:
        """Whether a request may join a batch that goes ahead of a pass."""
        work += waiting.work
        return (
            not waiting.lost
            and (waiting.caller != behind.caller or self._is_long(behind))
            and cost + waiting.cost <= WORTH_A_PASS
            and work <= _SHORT * behind.work
            and work + behind.passed <= behind.work
        )

    def _run_ahead(self, index: int, batch: list[Waiting]) -> None:
        """Compute a batch ahead of another; if it fails, its halves.

        What is lost is computed by the executor in its turn: of whose fault it was, nothing is
        known.
        """
        given = self._computed(self._ahead[index], batch)
        if not isinstance(given, Esm2Error):
            self._settle(batch, given, self._running_ahead[index].elapsed)
        elif isinstance(given, EngineLost) and self._wait_again(batch):
            pass
        elif isinstance(given, EngineError) and len(batch) > 1:
            middle = len(batch) // 2
            self._run_ahead(index, batch[:middle])
            self._run_ahead(index, batch[middle:])
        else:
            _fail(batch, given)

    def _wait_again(self, batch: list[Waiting]) -> bool:
        """Queue what was lost before everything else; False when closed."""
        with self._changed:
            if self._closing:
                return False
            for waiting in reversed(batch):
                waiting.lost = True
                self._line.put_first(waiting)
            self._changed.notify_all()
            return True


def _fail(batch: list[Waiting], failure: Esm2Error) -> None:
    for waiting in batch:
        waiting.future.set_exception(failure.again())


def _as_engine_error(error: BaseException) -> EngineError:
    wrapped = EngineError(f"the forward pass failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
