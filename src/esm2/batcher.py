"""Batching: requests of everyone who asks share forward passes.

    submit(request) -> Future          any thread
         queue, oldest first
    one thread: take the oldest, fill the batch up to the budget, run the executor, settle

A lone request never waits for others: batches form only out of what queues up while the engine is
busy. A caller who has left (its future was cancelled) is skipped. A batch that fails fails its own
requests and nothing else. Every future is settled exactly once, also when the batcher closes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from esm2.errors import EngineError, Esm2Error, Overloaded, ShuttingDown
from esm2.types import Executor, ForwardRequest, Outputs


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    request: ForwardRequest
    cost: int
    future: Future[Outputs] = field(default_factory=Future)


class Batcher:
    """A queue in front of one executor.

    Args:
        executor: computes a batch; called from the batcher's own thread, one batch at a time.
        cost: what a request costs, in tokens.
        pack_tokens: cost budget of a batch; a request above it runs alone.
        queue_tokens: the most cost that may wait; beyond it `submit` refuses.
    """

    def __init__(
        self,
        executor: Executor,
        cost: Callable[[ForwardRequest], int],
        *,
        pack_tokens: int,
        queue_tokens: int,
        name: str = "esm2",
    ) -> None:
        self._executor = executor
        self._cost = cost
        self._pack_tokens = pack_tokens
        self._queue_tokens = queue_tokens
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Cost that waits now, in tokens; what was cancelled counts until it is skipped."""
        return self._queued

    def submit(self, request: ForwardRequest, *, first: bool = False) -> Future[Outputs]:
        """Queue a request.

        Args:
            request: one sequence.
            first: go before everyone else and never be refused; for health checks.

        Returns:
            a future; cancelling it before its batch starts takes it out of the queue.

        Raises:
            Overloaded: the queue is full.
            ShuttingDown: the batcher is closed.
        """
        waiting = _Waiting(request, self._cost(request))
        with self._changed:
            if self._closing:
                raise ShuttingDown
            # An empty queue takes anything: a single request is never too large to wait.
            if self._queue and not first and self._queued + waiting.cost > self._queue_tokens:
                raise Overloaded(self._queued, self._queue_tokens)
            if first:
                self._queue.appendleft(waiting)
            else:
                self._queue.append(waiting)
            self._queued += waiting.cost
            self._changed.notify()
        return waiting.future

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests and stop.

        Args:
            drain: compute what is queued first; otherwise it fails with ShuttingDown.
        """
        with self._changed:
            self._closing = True
            abandoned = [] if drain else list(self._queue)
            if not drain:
                self._queue.clear()
                self._queued = 0
            self._changed.notify()
        for waiting in abandoned:
            if waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(ShuttingDown())
        self._thread.join()

    def _work(self) -> None:
        while batch := self._take():
            try:
                outputs = self._executor([waiting.request for waiting in batch])
                results = list(zip(batch, outputs, strict=True))
            except BaseException as error:
                # Whatever it was, it is these requests' answer; the thread must live on.
                failure = error if isinstance(error, Esm2Error) else _as_engine_error(error)
                for waiting in batch:
                    waiting.future.set_exception(failure)
            else:
                for waiting, output in results:
                    waiting.future.set_result(output)

    def _take(self) -> list[_Waiting]:
        """The next batch, oldest first; waits for one. Empty when closed and drained."""
        with self._changed:
            batch: list[_Waiting] = []
            while not batch:
                while not self._queue:
                    if self._closing:
                        return []
                    self._changed.wait()
                total = 0
                while self._queue:
                    waiting = self._queue[0]
                    full = batch and total + waiting.cost > self._pack_tokens
                    if full and not waiting.future.cancelled():
                        break
                    self._queue.popleft()
                    self._queued -= waiting.cost
                    # False for a caller who left; from here on it can no longer be cancelled.
                    if waiting.future.set_running_or_notify_cancel():
                        batch.append(waiting)
                        total += waiting.cost
            return batch


def _as_engine_error(error: BaseException) -> EngineError:
    wrapped = EngineError(f"the forward pass failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
