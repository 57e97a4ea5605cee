"""The cache of a real server: equal to computing, asked for or passed by, off when it is off."""

from __future__ import annotations

import json

import pytest

from esm2.catalog import DEMO_SLUG
from tests.wire.server import serving

ENCODE = f"/api/v2/{DEMO_SLUG}/encode/"
INCLUDE = ["mean", "per_token", "bos", "logits", "contacts", "attentions"]


def body(*sequences, include=INCLUDE):
    return {"items": [{"sequence": own} for own in sequences], "params": {"include": include}}


@pytest.fixture(scope="module")
def server():
    with serving("--cache-mb", "64", "--log-level", "info") as running:
        yield running


def test_an_answer_from_the_cache_is_the_answer_byte_for_byte(server):
    fresh = server.post(ENCODE, body("MKTAYIAKQR"))
    kept = server.post(ENCODE, body("MKTAYIAKQR"))
    again = server.post(ENCODE, body("MKTAYIAKQR"), {"Cache-Control": "no-cache"})
    passed_by = server.post(ENCODE, body("MKTAYIAKQR"), {"Cache-Control": "no-store"})
    assert fresh.body == kept.body == again.body == passed_by.body
    answers = (fresh, kept, again, passed_by)
    assert [own.headers["X-ESM2-Cached"] for own in answers] == ["0/1", "1/1", "0/1", "0/1"]


def test_only_what_is_not_there_is_computed_and_everyone_gets_its_own(server):
    server.post(ENCODE, body("MKTAYIAKQE"))
    mixed = server.post(ENCODE, body("MKTW", "MKTAYIAKQE", "MKTWW"))
    assert mixed.headers["X-ESM2-Cached"] == "1/3"
    alone = server.post(ENCODE, body("MKTWW"), {"Cache-Control": "no-store"})
    theirs, own = mixed.json()["results"][2], alone.json()["results"][0]
    assert {**theirs, "sequence_index": 0} == own


def test_two_lines_of_a_header_are_one_list(server):
    server.post(ENCODE, body("MKTAYIAKQF"))
    connection = server.connect()
    connection.putrequest("POST", ENCODE)
    content = json.dumps(body("MKTAYIAKQF")).encode()
    for line in ("max-age=0", "no-cache"):
        connection.putheader("Cache-Control", line)
    connection.putheader("Content-Length", len(content))
    connection.endheaders(content)
    assert connection.getresponse().headers["X-ESM2-Cached"] == "0/1"
    connection.close()


def test_what_is_passed_by_leaves_nothing_there(server):
    header = {"Cache-Control": "no-store, max-age=0"}
    for _ in range(2):
        assert server.post(ENCODE, body("MKTAYIAKQD"), header).headers["X-ESM2-Cached"] == "0/1"
    assert server.post(ENCODE, body("MKTAYIAKQD")).headers["X-ESM2-Cached"] == "0/1"


def test_another_output_is_another_question(server):
    server.post(ENCODE, body("MKTAYIAKQC", include=["mean"]))
    assert server.post(ENCODE, body("MKTAYIAKQC")).headers["X-ESM2-Cached"] == "0/1"


def test_off_is_off():
    with serving() as server:
        for _ in range(2):
            assert "X-ESM2-Cached" not in server.post(ENCODE, body("MKT")).headers
        metrics = server.get("/metrics").body.decode()
    assert (
        'esm2_tokens_total{model="esm2-demo"} 32.0' in metrics
    )  # the health question, two of ours
