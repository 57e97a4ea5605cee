"""Failures behind the door: one honest answer each, and nobody's work is done for nothing."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import Any

import pytest

from esm2.errors import (
    DeadlineExceeded,
    EngineCrashed,
    EngineError,
    EngineHung,
    ModelUnavailable,
    NotFinite,
    Overloaded,
    ShuttingDown,
)
from esm2.types import ForwardRequest, Outputs
from tests.wire.fake import PATH, Reply, app_over, at_once, call, ones

ENCODE = f"{PATH}/encode/"
PREDICT = f"{PATH}/predict/"
BODY = {
    ENCODE: b'{"items": [{"sequence": "MWHCPNQDFYMWHCPNQDFY"}, {"sequence": "MK"}]}',
    PREDICT: b'{"items": [{"sequence": "MWHCPNQDFY<mask>"}]}',
}
FAILURES = [
    (Overloaded(9, 8), 429, "service.overloaded", "queue is full"),
    (ShuttingDown(), 503, "service.shutting_down", "stopping"),
    (EngineError("the forward pass failed"), 500, "engine.failed", "forward pass"),
    (EngineCrashed("mine", "signal 9"), 500, "engine.crashed", "died of this request"),
    (EngineHung("mine", 60.0), 500, "engine.hung", "no answer"),
    (ModelUnavailable("mine", "it loads", 4), 503, "service.model_unavailable", "it loads"),
    (DeadlineExceeded(2.5), 504, "service.deadline_exceeded", "2.5 seconds"),
    (NotFinite("logits"), 500, "engine.not_finite", "NaN or infinity in logits"),
]


def failing_with(error: Exception):
    def compute(_: ForwardRequest) -> Outputs:
        raise error

    return at_once(compute)


def post(submit, path: str) -> Reply:
    return asyncio.run(call(app_over(submit), "POST", path, BODY[path]))


@pytest.mark.parametrize("path", [ENCODE, PREDICT])
@pytest.mark.parametrize(
    ("error", "status", "code", "words"), FAILURES, ids=lambda value: type(value).__name__
)
def test_a_failure_is_answered_with_its_own_code(path, error, status, code, words):
    reply = post(failing_with(error), path)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["code"] == code
    assert words in reply.json()["error"]
    assert ("retry-after" in reply.headers) == (status in (429, 503))
    assert ("request_id" in reply.json()) == (status >= 500)


@pytest.mark.parametrize("path", [ENCODE, PREDICT])
def test_a_refusal_by_the_queue_is_answered_too(path):
    def submit(
        request: ForwardRequest, *, first: bool = False, caller: str = ""
    ) -> Future[Outputs]:
        raise Overloaded(9, 8)

    reply = post(submit, path)
    assert (reply.status, reply.json()["code"]) == (429, "service.overloaded")


def test_one_failed_item_leaves_no_part_of_an_answer():
    def second_fails(request: ForwardRequest) -> Outputs:
        if len(request.tokens) == 4:
            raise EngineError("the forward pass failed")
        return ones(request)

    reply = post(at_once(second_fails), ENCODE)
    assert reply.status == 500
    assert "results" not in reply.json()


def test_a_model_that_fails_is_not_ready_and_the_process_still_lives():
    app = app_over(failing_with(EngineError("the forward pass failed")))
    ready = asyncio.run(call(app, "GET", "/health/ready"))
    live = asyncio.run(call(app, "GET", "/health/live"))
    assert ready.status >= 500
    assert ready.json()["code"] == "engine.failed"
    assert live.status == 200


def test_the_log_of_a_failure_says_what_failed_and_not_for_which_sequence(caplog):
    with caplog.at_level(logging.DEBUG):
        post(failing_with(EngineError("the forward pass failed")), ENCODE)
    failure, visit = (record for record in caplog.records if record.name.startswith("esm2"))
    assert "the forward pass failed" in failure.getMessage()
    assert (visit.fields["route"], visit.fields["status"]) == ("/api/v2/{slug}/encode/", 500)
    assert "MWHCPNQDFY" not in caplog.text


def test_a_bug_of_ours_is_a_500_that_tells_nothing_of_the_inside():
    app = app_over(failing_with(KeyError("inside")))
    sent: list[dict[str, Any]] = []
    with pytest.raises(KeyError):  # for the server's log; the caller was answered before
        asyncio.run(call(app, "POST", ENCODE, BODY[ENCODE], sent=sent))
    reply = Reply.of(sent)
    assert reply.status == 500
    assert reply.json()["code"] == "bug"
    assert b"inside" not in reply.body


# --- callers who leave -------------------------------------------------------------------------


class Queue:
    """A queue that nobody works off."""

    def __init__(self) -> None:
        self.futures: list[Future[Outputs]] = []
        self.full = asyncio.Event()

    def submit(
        self, request: ForwardRequest, *, first: bool = False, caller: str = ""
    ) -> Future[Outputs]:
        self.futures.append(Future())
        if len(self.futures) == 2:
            self.full.set()
        return self.futures[-1]


def test_a_caller_who_hangs_up_takes_what_waits_out_of_the_queue():
    async def hang_up() -> tuple[Queue, Reply]:
        queue = Queue()

        async def leave() -> dict[str, str]:
            await queue.full.wait()
            return {"type": "http.disconnect"}

        app = app_over(queue.submit)
        return queue, await call(app, "POST", ENCODE, BODY[ENCODE], receive_more=leave)

    queue, reply = asyncio.run(hang_up())
    assert [future.cancelled() for future in queue.futures] == [True, True]
    assert (reply.status, reply.body) == (499, b"")


def test_a_caller_who_hangs_up_inside_the_body_asks_for_nothing():
    async def hang_up() -> tuple[Queue, Reply]:
        queue = Queue()

        async def leave() -> dict[str, str]:
            return {"type": "http.disconnect"}

        app = app_over(queue.submit)
        reply = await call(app, "POST", ENCODE, b'{"items"', whole=False, receive_more=leave)
        return queue, reply

    queue, reply = asyncio.run(hang_up())
    assert queue.futures == []
    assert (reply.status, reply.body) == (499, b"")


def test_a_request_refused_half_way_takes_its_first_half_out_of_the_queue():
    async def ask() -> tuple[Queue, Reply]:
        queue = Queue()

        def submit(
            request: ForwardRequest, *, first: bool = False, caller: str = ""
        ) -> Future[Outputs]:
            if queue.futures:
                raise Overloaded(9, 8)
            return queue.submit(request)

        return queue, await call(app_over(submit), "POST", ENCODE, BODY[ENCODE])

    queue, reply = asyncio.run(ask())
    assert reply.status == 429
    assert [future.cancelled() for future in queue.futures] == [True]
