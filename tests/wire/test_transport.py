"""Bytes and connections around a request: gzip, chunks, keep-alive, many at once."""

from __future__ import annotations

import gzip
import json
import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import requests

from tests.near import assert_same

PATH = "/api/v2/my-slug/encode/"
PROTEIN = "MAETAVINHKKRKNSPRIVQSNDLTEAAYSLSRDQKRMLYLFVDQIRKSDGTLQEHDGICEIHVAKYAEIFG" * 4
BODY = json.dumps({"items": [{"sequence": PROTEIN}], "params": {"include": ["mean"]}}).encode()


@pytest.fixture(scope="module")
def plain(server) -> bytes:
    """The answer to BODY, sent plainly."""
    answer = server.post(PATH, BODY)
    assert answer.status == 200
    return answer.body


# --- how a body comes --------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_a_gzip_body_is_answered_like_a_plain_one(server, plain, level):
    zipped = gzip.compress(BODY, compresslevel=level)
    answer = server.post(PATH, zipped, {"Content-Encoding": "gzip"})
    assert (answer.status, answer.body) == (200, plain)


@pytest.mark.parametrize("name", ["GZIP", "x-gzip", "identity", ""])
def test_an_encoding_has_several_names(server, plain, name):
    body = gzip.compress(BODY) if "gzip" in name.lower() else BODY
    answer = server.post(PATH, body, {"Content-Encoding": name})
    assert (answer.status, answer.body) == (200, plain)


def test_a_body_as_biolms_sdks_send_it(server, plain):
    """httpx, gzip level 6 above 256 bytes, exact Content-Length, HTTP/1.1 on plain http."""
    assert len(BODY) > 256
    zipped = gzip.compress(BODY, compresslevel=6)
    headers = {
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "Content-Length": str(len(zipped)),
        "Authorization": "Token any",
    }
    with httpx2.Client(http1=True, trust_env=False) as client:
        answer = client.post(f"{server.url}{PATH}", content=zipped, headers=headers)
    assert (answer.status_code, answer.content) == (200, plain)


def test_a_body_as_requests_sends_it(server, plain):
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{server.url}{PATH}", json=json.loads(BODY))
    assert (answer.status_code, answer.content) == (200, plain)
    assert answer.history == []


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_body_is_answered_like_a_whole_one(server, plain, size):
    chunks = (BODY[start : start + size] for start in range(0, len(BODY), size))
    answer = server.post(PATH, chunks, {"Content-Type": "application/json"})
    assert (answer.status, answer.body) == (200, plain)


@pytest.mark.parametrize("size", [1, 50])
def test_a_gzip_body_may_come_in_chunks(server, plain, size):
    zipped = gzip.compress(BODY)
    chunks = (zipped[start : start + size] for start in range(0, len(zipped), size))
    answer = server.post(PATH, chunks, {"Content-Encoding": "gzip"})
    assert (answer.status, answer.body) == (200, plain)


def test_a_compressible_body_may_inflate_a_hundredfold(server):
    body = json.dumps({"items": [{"sequence": "M"}]}).encode().ljust(1_000_000)
    zipped = gzip.compress(body)
    assert len(zipped) < len(body) / 100
    assert server.post(PATH, zipped, {"Content-Encoding": "gzip"}).status == 200


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_members_of_a_gzip_body_follow_each_other_as_one(server, plain, size):
    """RFC 1952, 2.2; an empty one among them, as bgzip ends a file."""
    parts = (BODY[:7], BODY[7:300], b"", BODY[300:], b"")
    zipped = b"".join(map(gzip.compress, parts))
    chunks = (zipped[start : start + size] for start in range(0, len(zipped), size))
    answer = server.post(PATH, chunks, {"Content-Encoding": "gzip"})
    assert (answer.status, answer.body) == (200, plain)


def test_members_without_end_are_refused(server):
    answer = server.post(PATH, gzip.compress(b"") * 1001, {"Content-Encoding": "gzip"})
    assert (answer.status, answer.json()["code"]) == (400, "request.not_json")
    assert "more than 1000 gzip members" in answer.json()["error"]


def test_a_body_of_exactly_the_default_limit_passes_and_one_byte_more_does_not(server):
    limit = server.get("/info").json()["limits"]["max_body_bytes"]
    assert limit == 3 << 20
    body = json.dumps({"items": [{"sequence": "M"}]}).encode().ljust(limit)
    assert server.post(PATH, body).status == 200
    assert server.post(PATH, body + b" ").status == 413


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(server):
    with socket.create_connection(server.address) as connection:
        connection.sendall(_head({"Content-Length": 10**15}))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


# --- connections -------------------------------------------------------------------------------


def test_one_connection_serves_many_requests_refused_ones_among_them(guarded):
    good = json.dumps({"items": [{"sequence": "MKT"}]}).encode()
    bodies = [good, b"nonsense", good, b" " * 100_000, good, b"", good]
    connection = guarded.connect()
    connection.connect()
    first = connection.sock
    statuses = []
    for body in bodies:
        connection.request("POST", PATH, body, guarded.headers)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        assert connection.sock is first, "the server closed the connection"
    connection.close()
    assert statuses == [200, 400, 200, 413, 200, 400, 200]


def test_a_caller_may_close_after_the_answer(server, plain):
    answer = server.request("POST", PATH, BODY, {"Connection": "close"})
    assert (answer.status, answer.body) == (200, plain)
    assert answer.headers["Connection"] == "close"


def test_an_old_client_without_keep_alive_is_answered(server, plain):
    with socket.create_connection(server.address) as connection:
        head = _head({"Content-Length": len(BODY)}).replace(b"HTTP/1.1", b"HTTP/1.0")
        connection.sendall(head + BODY)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(plain)


def test_many_callers_at_once_each_get_their_own_numbers(server, direct):
    source = random.Random(3)
    sequences = [
        "".join(source.choices("LAGVSERTIDPKQNFYMHWC", k=source.randint(1, 120))) for _ in range(96)
    ]

    def ask(sequence: str) -> dict:
        [result] = server.results("my-slug", "encode", sequence, include=["mean", "logits", "bos"])
        return result

    with ThreadPoolExecutor(32) as callers:
        answers = list(callers.map(ask, sequences))
    wanted = direct("my-slug").encode(sequences, include=["mean", "logits", "bos"])
    for sequence, got, want in zip(sequences, answers, wanted, strict=True):
        assert len(got["logits"]) == len(sequence)
        for name, array in [
            ("mean_representations", want.mean[3]),
            ("bos_representations", want.bos[3]),
        ]:
            assert_same(got[name]["3"], array)
        assert_same(got["logits"], want.logits)


@pytest.mark.parametrize("sent", ["whole", "half a body", "a head", "half a head", "nothing"])
def test_callers_who_hang_up_leave_a_healthy_server(server, plain, sent):
    head = _head({"Content-Length": len(BODY)})
    portion = {
        "whole": head + BODY,
        "half a body": head + BODY[:100],
        "a head": head,
        "half a head": head[:30],
        "nothing": b"",
    }[sent]
    for _ in range(20):
        with socket.create_connection(server.address) as connection:
            # Closing then resets the connection: what a killed program does.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(portion)
    assert server.get("/health/ready").status == 200
    answer = server.post(PATH, BODY)
    assert (answer.status, answer.body) == (200, plain)


def _head(headers: dict[str, object]) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: localhost"]
    return "\r\n".join([*lines, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


@pytest.mark.parametrize("asked", ["0", "-1", "soon", "nan", ""])
def test_a_deadline_that_means_nothing_is_refused(server, asked):
    body = {"items": [{"sequence": "MKT"}]}
    refused = server.post("/api/v2/esm2-demo/encode/", body, {"X-ESM2-Timeout": asked})
    assert refused.status == 400
    assert refused.json()["code"] == "request.invalid_header"
