"""A stream of passes: in order, a bounded number in flight, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from esm2 import stream
from esm2.errors import EngineError
from esm2.types import ForwardRequest, Outputs, Want


def request(number: int, tokens: int = 10) -> ForwardRequest:
    return ForwardRequest(np.full(tokens, number, np.uint8), Want(logits=True))


def answer(asked: ForwardRequest) -> Outputs:
    return Outputs(logits=np.full((1, 33), asked.tokens[0], np.float32))


def number(outputs: Outputs) -> int:
    return int(outputs.logits[0, 0])


def at_once(asked: ForwardRequest) -> Future[Outputs]:
    future: Future[Outputs] = Future()
    future.set_result(answer(asked))
    return future


class Slow:
    """Answers nothing by itself."""

    def __init__(self) -> None:
        self.asked: list[tuple[ForwardRequest, Future[Outputs]]] = []

    def __call__(self, asked: ForwardRequest) -> Future[Outputs]:
        future: Future[Outputs] = Future()
        self.asked.append((asked, future))
        if len(self.asked) % 3 == 0:  # the newest first
            for own, waiting in reversed(self.asked[-3:]):
                waiting.set_result(answer(own))
        return future


def test_outputs_come_in_the_order_of_the_requests():
    got = stream.run(map(request, range(9)), Slow(), in_flight_tokens=40)
    assert [number(outputs) for outputs in got] == list(range(9))


def test_no_more_tokens_are_in_flight_than_allowed():
    slow = Slow()
    outputs = stream.run(map(request, range(100)), slow, in_flight_tokens=35)
    for taken in range(20):
        next(outputs)
        assert len(slow.asked) - taken <= 4


def test_a_request_above_the_limit_travels_alone():
    got = stream.run([request(1, 99), request(2, 99)], at_once, in_flight_tokens=10)
    assert [number(outputs) for outputs in got] == [1, 2]


def test_what_waits_is_cancelled_when_the_stream_is_interrupted():
    slow = Slow()

    def interrupted() -> Iterator[ForwardRequest]:
        yield from map(request, range(5))
        raise KeyboardInterrupt

    got = []
    with pytest.raises(KeyboardInterrupt):
        got.extend(map(number, stream.run(interrupted(), slow, in_flight_tokens=50)))
    assert [future.cancelled() for _, future in slow.asked] == [False] * 3 + [True] * 2


def test_a_failed_pass_ends_the_stream_and_cancels_the_rest():
    futures = []

    def submit(asked: ForwardRequest) -> Future[Outputs]:
        future: Future[Outputs] = Future()
        if asked.tokens[0] == 1:
            future.set_exception(EngineError("it failed"))
        futures.append(future)
        return future

    outputs = stream.run([request(1), request(2), request(3)], submit, in_flight_tokens=20)
    with pytest.raises(EngineError):
        list(outputs)
    assert all(future.cancelled() for future in futures[1:])
