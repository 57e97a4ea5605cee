"""Forward passes without end: in order, a bounded number of them in flight.

    requests ──> submit ──┐                at most in_flight_tokens in here, done or not
                          │ r7 r6 r5 r4
    outputs <── oldest ───┘

The more passes wait in the batcher, the fuller its packs; the limit keeps the rest from being made
before their time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future

from esm2.types import ForwardRequest, Outputs


def run(
    requests: Iterable[ForwardRequest],
    submit: Callable[[ForwardRequest], Future[Outputs]],
    *,
    in_flight_tokens: int,
) -> Generator[Outputs, None, None]:
    """The outputs of all requests, in their order.

    Args:
        requests: taken as there is room for them.
        submit: takes a request at once and answers later.
        in_flight_tokens: the most tokens submitted and not yet yielded; a larger request travels
            alone.

    Raises:
        Esm2Error: a pass failed. However the iteration ends, what still waits is cancelled.
    """
    waiting: deque[tuple[int, Future[Outputs]]] = deque()
    in_flight = 0
    try:
        for request in requests:
            cost = len(request.tokens)
            while waiting and (waiting[0][1].done() or in_flight + cost > in_flight_tokens):
                outputs = waiting[0][1].result()
                in_flight -= waiting.popleft()[0]
                yield outputs
            waiting.append((cost, submit(request)))
            in_flight += cost
        while waiting:
            outputs = waiting[0][1].result()
            waiting.popleft()
            yield outputs
    finally:
        for _, future in waiting:
            future.cancel()
