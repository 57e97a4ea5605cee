"""A served model: admission and fan-out. A request of several sequences becomes one answer.

    requests -> [admission] -> one future each in the batcher -> outputs, in order

Each sequence is a future of its own, so sequences of different callers share forward passes, and
a caller who leaves takes exactly its own out of the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from esm2.alphabet import tokenize
from esm2.errors import ContactsUnavailable
from esm2.types import Decided, ForwardRequest, Outputs, Want

# Any short sequence will do; this one has every natural amino acid once.
_PROBE = "ACDEFGHIKLMNPQRSTVWY"


class Service:
    """One model as the doors see it.

    Args:
        decided: what the model is.
        submit: queues one request; `Batcher.submit`, or anything that behaves like it.
    """

    def __init__(self, decided: Decided, submit: Callable[..., Future[Outputs]]) -> None:
        self.decided = decided
        self._submit = submit

    def check(self, want: Want) -> None:
        """Refuse what this model cannot give.

        Raises:
            ContactsUnavailable: it has no contact head.
        """
        if want.contacts and not self.decided.contacts:
            raise ContactsUnavailable(self.decided.slug)

    async def run(self, requests: Sequence[ForwardRequest]) -> list[Outputs]:
        """Compute all sequences of one caller.

        Returns:
            outputs in the same order.

        Raises:
            Overloaded, ShuttingDown, EngineError: no part of the answer is given.
        """
        futures: list[Future[Outputs]] = []
        try:
            for request in requests:
                self.check(request.want)
                futures.append(self._submit(request))
            return await asyncio.gather(*map(asyncio.wrap_future, futures))
        finally:
            # Reached by success, failure and a caller who left: what still waits is not computed.
            for future in futures:
                future.cancel()

    async def probe(self) -> None:
        """One real forward pass through every layer, ahead of the queue; raises if it fails."""
        request = ForwardRequest(tokenize(_PROBE), Want(logits=True))
        await asyncio.wrap_future(self._submit(request, first=True))
