"""A served model: admission and fan-out. A request of several sequences becomes one answer.

    requests -> [admission] -> one future each in the batcher -> outputs, in order

Each sequence is a future of its own, so sequences of different callers share forward passes, and
a caller who leaves takes exactly its own out of the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

import numpy as np

from esm2.alphabet import tokenize
from esm2.batcher import Running, Ticket
from esm2.budget import MemoryModel
from esm2.cache import Cache, key_of
from esm2.errors import (
    DeadlineExceeded,
    Esm2Error,
    ModelUnavailable,
)
from esm2.numerics import KNOWN_ANSWER
from esm2.types import Decided, Float, ForwardRequest, Outputs, Want

# Any short sequence will do; this one has every natural amino acid once.
_PROBE = tokenize("ACDEFGHIKLMNPQRSTVWY")

# An executor that is busy is healthy for so many seconds, and so many times what its pass should
# take; a health check waits a little longer than that for its answer.
_PATIENCE = 5.0
_TIMES = 4.0
_ANSWER = 6.0
# Health checks share one question at a time, and for so many seconds its answer.
_REUSED = 1.0


#: What a request wants of the cache: everything, fresh results that are kept, or nothing of it.
CacheUse = Literal["all", "fresh", "none"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one model may take here.

    Attributes:
        memory_bytes: for one forward pass with its outputs; None where it is not bounded.
        longest: residues, beyond which no sequence is taken.
    """

    memory_bytes: int | None = None
    longest: int = 1 << 20


@dataclass(slots=True)
class Times:
    """When things happened to a question, `time.monotonic`; 0 for what has not happened.

    Attributes:
        asked: it was queued.
        begun: the first of its passes began; what the cache knew has none.
        done: all its outputs were there.
    """

    asked: float = 0.0
    begun: float = 0.0
    done: float = 0.0


class Service:
    """One model as the doors see it.

    Args:
        decided: what the model is.
        submit: queues one request; `Batcher.submit`, or anything that behaves like it.
        submit_all: the same for what belongs together, all or nothing; by default one by one.
        running: the passes that are being computed now, where that is known.
        allowance: what it may take.
        cache: of results, where there is one.
    """

    def __init__(
        self,
        decided: Decided,
        submit: Callable[..., Future[Outputs]],
        *,
        submit_all: Callable[[Sequence[ForwardRequest], str], list[Future[Outputs]]] | None = None,
        running: Callable[[], Sequence[Running]] = lambda: (),
        allowance: Allowance = Allowance(),
        cache: Cache | None = None,
    ) -> None:
        self.decided = decided
        self._submit = submit
        self._submit_all = submit_all
        self._running = running
        self._allowance = allowance
        self._cache = cache
        self._memory = MemoryModel(decided.shape, decided.threads)
        self._probe = ForwardRequest(_PROBE, decided.whole_pass)
        self._known: Float | None = None
        self._asked: asyncio.Task[float] | None = None

    def check(self, want: Want, residues: int = 0) -> None:
        """Refuse what this model cannot give.

        Raises:
            ContactsUnavailable, LogitsUnavailable: it has no head for it.
            DoesNotFit: there is not enough memory for it.
        """
        self.decided.check(want)
        room = self._allowance.memory_bytes
        if room is not None:
            self._memory.check(want, residues, room, self._allowance.longest)

    def check_all(self, requests: Sequence[ForwardRequest]) -> None:
        """`check` of everything that is about to be run."""
        for request in requests:
            self.check(request.want, len(request.tokens) - 2)

    async def run(
        self,
        requests: Sequence[ForwardRequest],
        *,
        caller: str = "",
        seconds: float | None = None,
        times: Times | None = None,
    ) -> list[Outputs]:
        """Compute all sequences of one caller.

        Args:
            requests: that passed `check_all`.
            caller: who asks; callers take turns.
            seconds: within which there must be an answer.
            times: to note when the first pass began.

        Returns:
            outputs in the same order.

        Raises:
            Overloaded, ShuttingDown, EngineError, ...: no part of the answer is given.
            DeadlineExceeded: the seconds are over; what was not computed yet never is.
        """
        futures: list[Future[Outputs]] = []
        try:
            async with asyncio.timeout(seconds):
                if self._submit_all is not None:
                    futures += self._submit_all(requests, caller)
                else:
                    for request in requests:
                        futures.append(self._submit(request, caller=caller))
                return await asyncio.gather(*map(asyncio.wrap_future, futures))
        except TimeoutError as error:
            raise DeadlineExceeded(seconds or 0.0) from error
        finally:
            # Reached by success, failure and a caller who left.
            if times is not None:
                times.begun = min(filter(None, map(_begun, futures)), default=0.0)
            _let_go(futures)

    async def run_cached(
        self,
        requests: Sequence[ForwardRequest],
        use: CacheUse,
        *,
        caller: str = "",
        seconds: float | None = None,
        times: Times | None = None,
    ) -> tuple[list[Outputs], list[ForwardRequest]]:
        """`run`, of what is not in the cache.

        Args:
            use: whether results may come from the cache, and whether they may go there.

        Returns:
            (outputs in the same order, the requests that were computed for them).
        """
        cache = self._cache
        if cache is None or use == "none":
            outputs = await self.run(requests, caller=caller, seconds=seconds, times=times)
            return outputs, list(requests)
        keys = [key_of(request, self.decided) for request in requests]
        found = [await cache.get(key) if use == "all" else None for key in keys]
        missing = [at for at, outputs in enumerate(found) if outputs is None]
        wanted = [requests[at] for at in missing]
        computed = (
            await self.run(wanted, caller=caller, seconds=seconds, times=times) if wanted else []
        )
        for at, own in zip(missing, computed, strict=True):
            found[at] = own
            await cache.put(keys[at], own)
        answer = [outputs for outputs in found if outputs is not None]
        assert len(answer) == len(requests)
        return answer, wanted

    def warm_up(self) -> None:
        """Ask the question of the health checks once; its answer is the known one from then on.

        Raises:
            EngineError, ...: the model cannot compute.
        """
        self._known = self._submit(self._probe, first=True).result().of_whole_pass

    async def probe(self) -> None:
        """One real forward pass, ahead of the queue, whose answer is known after `warm_up`.

        An executor that is busy with a pass answers later; that is fine as long as the pass takes
        about as long as it should. Whoever asks while somebody else does, or within a second after,
        is told the same.

        Raises:
            ModelUnavailable: no answer, or another one than before.
            EngineError, ShuttingDown: as they came.
        """
        self._look_for_wedged()
        if self._asked is None or (self._asked.done() and self._out_of_date(self._asked)):
            self._asked = asyncio.create_task(self._ask())
            self._asked.add_done_callback(_looked_at)
        try:
            await asyncio.shield(self._asked)
        except Esm2Error as error:
            raise error.again() from error

    def _out_of_date(self, asked: asyncio.Task[float]) -> bool:
        failed = asked.cancelled() or asked.exception() is not None
        return failed or time.monotonic() - asked.result() >= _REUSED

    async def _ask(self) -> float:
        """The time at which the model gave the known answer, or may take longer for it."""
        answer = asyncio.wrap_future(self._submit(self._probe, first=True))
        try:
            outputs = await asyncio.wait_for(answer, _ANSWER)
        except TimeoutError:
            self._look_for_wedged()
            if not self._running():
                raise self._unavailable("it gave no answer to a health check") from None
            return time.monotonic()
        known, found = self._known, outputs.of_whole_pass
        if known is None:
            return time.monotonic()
        if found is None or not np.allclose(found, known, rtol=0, atol=KNOWN_ANSWER):
            raise self._unavailable("it gives another answer than when it was started")
        return time.monotonic()

    def _look_for_wedged(self) -> None:
        for one in self._running():
            if one.elapsed > _PATIENCE + _TIMES * one.expected:
                raise self._unavailable(
                    f"a forward pass that should take {one.expected:.1f} s has been running for"
                    f" {one.elapsed:.0f} s"
                )

    def _unavailable(self, reason: str) -> ModelUnavailable:
        return ModelUnavailable(self.decided.slug, reason)


def _looked_at(asked: asyncio.Task[float]) -> None:
    """Whoever asked may have left; nobody needs to be told of what it came to."""
    if not asked.cancelled():
        asked.exception()


def _begun(future: Future[Outputs]) -> float:
    """When a pass began, `time.monotonic`; 0 if it did not, or that is not known."""
    return future.begun if isinstance(future, Ticket) else 0.0


def _let_go(futures: list[Future[Outputs]]) -> None:
    """Have what still waits not computed, and what is computed all the same not kept.

    An error keeps the frames that it came through, with their futures, and asyncio's timeouts and
    anyio's groups keep errors in circles: what came of a pass whose caller has left would stay
    until the garbage collector finds it.
    """
    for future in futures:
        future.cancel()
    futures.clear()
