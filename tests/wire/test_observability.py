"""What a running server tells whoever watches it: metrics, one line a request, request ids."""

from __future__ import annotations

import json
import os
import re
import signal
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from esm2.catalog import DEMO_SLUG
from tests import services
from tests.faults.test_server import children
from tests.wire.server import PATIENCE, serving

ENCODE = f"/api/v2/{DEMO_SLUG}/encode/"
TEN = {"items": [{"sequence": "MKTAYIAKQR"}]}
LARGE = {"items": [{"sequence": "MKTAYIAKQR" * 150}] * 8, "params": {"include": ["contacts"]}}


def samples(text):
    """(name, labels) -> value."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figures(server):
    answer = server.get("/metrics")
    assert answer.status == 200
    return samples(answer.body.decode())


@pytest.fixture(scope="module")
def server():
    with serving("--log-level", "info", "--log-format", "json", "--send-seconds=2") as running:
        yield running


def test_everything_is_counted_once(server):
    before = figures(server)
    assert server.post(ENCODE, {"items": TEN["items"] * 3}).status == 200
    assert server.post(ENCODE, b"{").status == 400
    after = figures(server)

    def grown(*key):
        return after.get(key, 0) - before.get(key, 0)

    assert grown("esm2_residues_total", "anonymous", DEMO_SLUG) == 30
    assert grown("esm2_tokens_total", DEMO_SLUG) == 36
    assert grown("esm2_pass_tokens_sum", DEMO_SLUG) == 36
    assert grown("esm2_requests_total", "200", "encode") == 1
    assert grown("esm2_requests_total", "400", "encode") == 1
    assert grown("esm2_refusals_total", "request.not_json") == 1
    assert grown("esm2_request_seconds_count", "encode") == 2
    assert grown("esm2_serialize_seconds_count", "encode") == 1
    assert after["esm2_queue_cost_tokens", DEMO_SLUG] == 0
    assert after["esm2_queue_age_seconds", DEMO_SLUG] == 0
    assert after["esm2_reply_bytes",] == 0
    assert after["process_resident_memory_bytes",] > 1e6


def test_a_restart_is_counted(server):
    before = figures(server).get(("esm2_restarts_total", "engine.crashed", DEMO_SLUG), 0)
    os.kill(children(server)[0], signal.SIGKILL)
    assert server.post(ENCODE, TEN).status == 200
    assert figures(server)["esm2_restarts_total", "engine.crashed", DEMO_SLUG] == before + 1


def test_what_never_became_a_request_is_counted_and_is_one_line(server):
    before = figures(server).get(("esm2_refusals_total", "http.malformed"), 0)
    chunked = b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    ids = []
    for content in (b"GARBAGE\r\n\r\n", chunked % ENCODE.encode()):
        with socket.create_connection(server.address, PATIENCE) as connection:
            connection.sendall(content)
            reply = connection.makefile("rb").read().decode()
        assert reply.startswith("HTTP/1.1 400 ")
        ids += re.findall(r"x-request-id: (\w{32})\r\n", reply, re.IGNORECASE)
    assert len(ids) == 2
    key = ("esm2_refusals_total", "http.malformed")
    services.until(lambda: figures(server).get(key) == before + 2, "it is not counted")
    lines = [json.loads(line) for line in server.said.splitlines() if "http.malformed" in line]
    assert [(line["request_id"], line["status"]) for line in lines] == [(own, 400) for own in ids]


def test_a_reply_that_is_not_taken_is_told_to_be_cut(server):
    connection = server.connect()
    connection.request("POST", ENCODE, json.dumps(LARGE), {"X-Request-ID": "cut"})
    assert connection.getresponse().read(2000)
    connection.sock.close()
    connection.close()
    services.until(lambda: '"request_id":"cut"' in server.said, "there is no line of it")
    [line] = [line for line in server.said.splitlines() if '"request_id":"cut"' in line]
    assert (json.loads(line)["status"], json.loads(line)["code"]) == (200, "reply.cut")


def test_of_a_reader_who_is_cut_off_it_is_told_how_little_was_taken(server):
    content = json.dumps(LARGE).encode()
    head = f"POST {ENCODE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.address)
        connection.sendall(head.encode() + content)
        services.until(lambda: "is cut off" in server.said, "there is no line of it")
    [line] = [line for line in server.said.splitlines() if "is cut off" in line]
    assert re.search(r"a caller took \d+ bytes of its reply in 2 s and is cut off", line)


def test_no_label_is_of_a_callers_choosing(server):
    for number in range(5):
        server.get(f"/made-up/{number}")
        server.post(f"/api/v2/made-up-{number}/encode/", TEN)
        server.request(f"MADEUP{number}", "/")
        server.post(f"/api/v2/{DEMO_SLUG}/made-up-{number}/", TEN)
    names = {part for key in figures(server) for part in key}
    assert [name for name in names if "made" in str(name).lower()] == []


@pytest.mark.parametrize("own", ["abc-123", "a" * 64, "0.1_2"])
def test_a_request_keeps_the_id_that_it_came_with(server, own):
    for path in (ENCODE, "/nowhere"):
        answer = server.post(path, TEN, {"X-Request-ID": own})
        assert answer.headers["X-Request-ID"] == own


@pytest.mark.parametrize("own", ["", "a b", "a" * 65, "é", "MKTAYIAKQRQISFVKSHFSRQ"])
def test_an_id_that_is_no_decent_one_is_replaced(server, own):
    answer = server.post(ENCODE, TEN, {"X-Request-ID": own.encode()})
    given = answer.headers["X-Request-ID"]
    assert given != own
    assert len(given) == 32


def test_each_request_is_one_line_of_json_with_its_id():
    with serving("--log-level", "info", "--log-format", "json") as server:
        server.post(ENCODE, TEN, {"X-Request-ID": "the-good-one"})
        server.post(ENCODE, b"{", {"X-Request-ID": "the-bad-one"})
        server.get("/nowhere/at/all")
        _, stderr = server.stop()
    lines = [json.loads(line) for line in stderr.splitlines() if not line.startswith("esm2: ")]
    good, bad, nowhere = lines
    parts = [good.pop(name) for name in ("queue_ms", "engine_ms", "writing_ms")]
    assert min(parts) >= 0
    assert parts[1] > 0
    assert sum(parts) <= 1000 * good.pop("seconds") + 1
    assert good.pop("time").endswith("+00:00")
    assert good == {
        "level": "info",
        "logger": "esm2.access",
        "message": "request",
        "request_id": "the-good-one",
        "method": "POST",
        "route": "/api/v2/{slug}/encode/",
        "status": 200,
        "caller": "anonymous",
        "model": DEMO_SLUG,
        "passes": 1,
        "residues": 10,
    }
    assert (bad["request_id"], bad["status"], bad["code"]) == (
        "the-bad-one",
        400,
        "request.not_json",
    )
    assert (nowhere["route"], nowhere["status"]) == ("other", 404)


def test_as_text_a_request_is_one_line_too():
    with serving("--log-level", "info") as server:
        server.post(ENCODE, TEN, {"X-Request-ID": "mine"})
        _, stderr = server.stop()
    [line] = [line for line in stderr.splitlines() if not line.startswith("esm2: ")]
    assert " info esm2.access request request_id=mine method=POST route=/api/v2/{slug}" in line


def test_metrics_want_a_token_where_there_are_tokens():
    with serving(tokens="secret") as server:
        assert server.request("GET", "/metrics", headers={"Authorization": None}).status == 401
        assert server.get("/metrics").status == 200


def test_with_an_admin_port_metrics_and_health_are_there_and_metrics_nowhere_else():
    port = services.free_port()
    with serving("--admin-port", str(port), tokens="secret") as server:
        admin = type(server).__new__(type(server))
        admin.url, admin.headers = f"http://127.0.0.1:{port}", {}
        assert server.post(ENCODE, TEN).status == 200
        assert figures(admin)["esm2_residues_total", "ESM2_TOKENS", DEMO_SLUG] == 10
        assert admin.get("/health/ready").status == 200
        assert admin.get("/info").status == 200
        assert admin.post(ENCODE, TEN).status == 404
        assert server.get("/metrics").status == 404
        assert server.get("/health/ready").status == 200
        assert server.stop()[0] == 0
