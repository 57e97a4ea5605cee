"""Every request ends: with the grace time of a server that stops, or because a watchdog ends it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from esm2.server.ending import Ending
from tests.wire.fake import PATH, Reply, app_over, call

BODY = b'{"items": [{"sequence": "MKT"}]}'


def never(*_, **__):
    """A model that has not answered yet."""
    return Future()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/v1/esm2-demo/encode", {"detail", "errors", "status_code", "code", "request_id"}),
        ("/api/v2/esm2-demo/encode/", {"error", "code", "request_id"}),
        ("/api/v3/esm2-demo/encode/", {"error", "code", "request_id"}),
    ],
)
def test_what_the_grace_time_cuts_off_is_told_so_in_its_own_generations_words(path, words):
    async def cut_off():
        sent = []
        asking = asyncio.create_task(call(app_over(never), "POST", path, BODY, sent=sent))
        for _ in range(20):
            await asyncio.sleep(0)
        asking.cancel()
        return await asking

    reply = asyncio.run(cut_off())
    assert (reply.status, reply.json()["code"]) == (503, "service.shutting_down")
    assert set(reply.json()) == words
    assert int(reply.headers["retry-after"]) >= 1


def ended(app):
    """What a request to an app that hangs comes to, under a watchdog of a moment."""
    sent = []
    asyncio.run(call(Ending(app, seconds=0.001), "GET", f"{PATH}/x", sent=sent))
    return sent


def test_a_request_that_hangs_is_answered(caplog):
    async def hangs(scope, receive, send):
        await asyncio.Future()

    reply = Reply.of(ended(hangs))
    assert (reply.status, reply.json()["code"]) == (504, "service.deadline_exceeded")
    assert "nothing that ends it: it is cut" in caplog.text


def test_a_reply_that_stops_in_the_middle_is_left_unfinished_and_so_cut(caplog):
    async def hangs(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"[", "more_body": True})
        await asyncio.Future()

    assert [message["type"] for message in ended(hangs)] == [
        "http.response.start",
        "http.response.body",
    ]
    assert "it is cut" in caplog.text


def test_a_time_that_is_over_somewhere_inside_is_not_the_watchdogs():
    async def fails(scope, receive, send):
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        asyncio.run(call(Ending(fails, seconds=60), "GET", PATH))
