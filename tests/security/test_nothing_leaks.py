"""A canary: no sequence and no token in any log, metric or error, at any level, in any form."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
from urllib.parse import quote

import pytest

from esm2.catalog import DEMO_SLUG
from esm2.errors import EngineError
from tests.faults.test_server import children
from tests.wire.fake import app_over
from tests.wire.server import serving
from tests.wire.test_when_the_model_fails import failing_with

CANARY = "MWHCPNQDFYRWKCMHTQNEYPCW"
PART = 8  # letters of it that must not be seen
TOKEN = "canary-token-8f3a5c"
ENCODE = f"/api/v2/{DEMO_SLUG}/encode/"


def sightings(*texts):
    """The pieces of the canaries that are in these texts."""
    pieces = [CANARY[at : at + PART] for at in range(len(CANARY) - PART + 1)]
    pieces += [TOKEN, TOKEN[:14], TOKEN[6:]]
    return [piece for text in texts for piece in pieces if piece.lower() in text.lower()]


def bodies():
    good = {"items": [{"sequence": CANARY}]}
    return [
        json.dumps(good).encode(),
        json.dumps({"items": [{"sequence": CANARY + "-"}]}).encode(),  # answered, with a warning
        json.dumps({"items": [{"sequence": CANARY + "J"}]}).encode(),
        json.dumps({"items": [{"sequence": CANARY + "<mask>"}]}).encode(),
        json.dumps({"items": [{"sequence": [CANARY]}]}).encode(),
        json.dumps({"items": [{"sequence": CANARY * 200}]}).encode(),
        json.dumps({"items": [{CANARY: "M"}]}).encode(),
        json.dumps({"items": CANARY}).encode(),
        json.dumps({CANARY: []}).encode(),
        json.dumps({**good, "params": {"include": [CANARY]}}).encode(),
        json.dumps({**good, "params": {"repr_layers": CANARY}}).encode(),
        json.dumps({**good, "params": CANARY}).encode(),
        json.dumps(CANARY).encode(),
        json.dumps([CANARY]).encode(),
        CANARY.encode(),
        f">x\n{CANARY}\n".encode(),
        json.dumps(good).encode()[:-3],
        json.dumps(good).encode() + CANARY.encode(),
        gzip.compress(json.dumps(good).encode()),
        f'{{"items": [], "items": "{CANARY}"}}'.encode(),
    ]


def ask_everything(server):
    """The bodies of all answers that are no results, and what stands above all answers."""
    answers = [server.post(path, body) for body in bodies() for path in paths()]
    answers += [server.post(ENCODE, body, {"Content-Encoding": "gzip"}) for body in bodies()]
    for name in ("X-Request-ID", "Accept", "Content-Encoding", "X-ESM2-Timeout", "User-Agent"):
        answers.append(server.post(ENCODE, bodies()[0], {name: CANARY}))
        answers.append(
            server.post(ENCODE, bodies()[0], {name: f"application/x-npz;dtype={CANARY}"})
        )
    for shown in (f"Token {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}"):
        answers.append(server.post(ENCODE, bodies()[0], {"Authorization": shown}))
    answers.append(
        server.post(ENCODE, bodies()[0], {"Authorization": None, "Cookie": f"access={TOKEN}y"})
    )
    above = [str(answer.headers) for answer in answers]
    return [*(own.body.decode("latin-1") for own in answers if own.status != 200), *above]


def paths():
    masked = [
        f"/api/v3/{DEMO_SLUG}/{action}"
        for action in ("predict", "score", "scan", "pll", "log_prob")
    ]
    return [ENCODE, f"/api/v1/{DEMO_SLUG}/encode", *masked]


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_log_no_metric_and_no_refusal_of_a_server_shows_what_was_sent(form):
    flags = ("--log-level", "debug", "--log-format", form, "--hung-seconds", "5")
    with serving(*flags, tokens=TOKEN) as server:
        refusals = ask_everything(server)
        os.kill(children(server)[0], signal.SIGKILL)
        assert server.post(ENCODE, bodies()[0]).status == 200
        metrics = server.get("/metrics").body.decode()
        public = [server.get(path).body.decode() for path in ("/info", "/openapi.json", "/docs")]
        status, stderr = server.stop()
    assert status == 0
    assert len(refusals) > 100
    assert len(stderr.splitlines()) > 100  # every request has its line
    assert sightings(stderr, metrics, *public, *refusals) == []


@pytest.mark.parametrize("where", ["path", "query", "model"])
def test_an_address_or_a_foreign_name_is_not_logged_as_it_was_sent(where):
    path = {
        "path": f"/{CANARY}/encode",
        "query": f"{ENCODE}?sequence={CANARY}&token={quote(TOKEN)}",
        "model": f"/api/v2/{CANARY}/encode/",
    }[where]
    with serving("--log-level", "debug") as server:
        server.post(path, bodies()[0])
        server.get(path)
        for name in ("Host", "Origin"):
            refused = server.post(path, bodies()[0], {name: f"https://{CANARY}.example"})
            assert refused.status == 403
        metrics = server.get("/metrics").body.decode()
        _, stderr = server.stop()
    assert sightings(stderr, metrics) == []


@pytest.mark.parametrize(
    "error", [EngineError("the forward pass failed"), ValueError(f"bad input {CANARY}")]
)
def test_an_exception_whose_text_has_the_sequence_does_not_bring_it_into_log_or_answer(
    error, capfd, caplog
):
    import asyncio

    from esm2.server import logs
    from tests.wire.fake import Reply, call

    sent = []
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure("debug", "text")
        asyncio.run(call(app_over(failing_with(error)), "POST", ENCODE, bodies()[0], sent=sent))
    except ValueError:
        pass  # leaves the app for uvicorn's log, which is configured the same way
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    reply = Reply.of(sent)
    assert reply.status == 500
    assert sightings(reply.body.decode(), capfd.readouterr().err) == []
