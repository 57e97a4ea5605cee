"""Connections that are slow, many, half closed or speak something that is not quite HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from contextlib import ExitStack
from operator import methodcaller

import pytest
import uvicorn
from uvicorn.server import ServerState

from esm2.catalog import DEMO_SLUG
from esm2.cli.connections import Patience, guarded
from tests.faults.test_server import until
from tests.security.raw import alive, connect, everything, say
from tests.wire.server import PATIENCE, serving

PATH = f"/api/v2/{DEMO_SLUG}/encode/"
BODY = json.dumps({"items": [{"sequence": "MKTAYIAKQR"}]}).encode()
LARGE = {
    "items": [{"sequence": "MKTAYIAKQR" * 200}],
    "params": {"include": ["contacts", "per_token"]},
}


def head(*lines, path=PATH, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def server():
    flags = ("--header-seconds=1", "--body-seconds=1", "--send-seconds=1", "--max-connections=20")
    with serving(*flags) as running:
        yield running
        status, stderr = running.stop()
    assert status == 0
    listens, serves, *refused = stderr.splitlines()
    assert "listening on" in listens
    assert "esm2-demo on" in serves
    assert len(refused) <= 1, stderr  # one line a minute at most
    assert all("; there may be 20 (--max-connections" in line for line in refused), stderr


@pytest.mark.parametrize("begun", [b"", b"POST / HT", head("X-Slow: yes")[:-2]])
def test_headers_that_do_not_end_are_not_waited_for(server, begun):
    with connect(server) as connection:
        connection.sendall(begun)
        said = everything(connection)
    assert (said.statuses, said.last["code"]) == ([408], "http.header_timeout")
    assert "after 1 seconds" in said.last["error"]


def test_the_headers_of_a_further_request_are_not_waited_for_either(server):
    with connect(server) as connection:
        connection.sendall(head(f"Content-Length: {len(BODY)}") + BODY)
        while not connection.recv(1 << 16).endswith(b"}]}"):
            pass
        connection.sendall(b"POST ")
        assert everything(connection).statuses == [408]


def test_a_body_that_does_not_end_is_not_waited_for(server):
    with connect(server) as connection:
        connection.sendall(head("Content-Length: 1000") + BODY)
        said = everything(connection)
    assert said.statuses == [408]
    assert b"request.body_timeout" in said.bytes


def test_a_reader_who_does_not_read_is_cut_off_and_its_memory_given_back(server):
    content = json.dumps(LARGE).encode()
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(f"Content-Length: {len(content)}") + content)
        # While it is not reading, it holds memory; after a second it is cut off and does not.
        waiting = b"esm2_reply_bytes 0.0"
        while waiting in server.get("/metrics").body:
            pass
        while waiting not in server.get("/metrics").body:
            pass


def test_a_caller_who_has_closed_half_of_the_connection_is_one_who_left(server):
    said = say(server, head(f"Content-Length: {len(BODY)}") + BODY)
    assert said.statuses in ([], [200])
    assert alive(server)


def test_of_too_many_connections_the_further_ones_are_closed_and_the_others_served(server):
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(30)]
        for connection in connections[:10]:
            connection.sendall(head(f"Content-Length: {len(BODY)}") + BODY)
        answers = [connection.recv(12) for connection in connections[:10]]
        assert answers == [b"HTTP/1.1 200"] * 10
        assert everything(connections[-1]).bytes == b""
    assert alive(server)


def test_more_silent_connections_than_files_are_one_line_and_the_server_lives_through_them():
    with serving(after="ulimit -n 128") as server:
        with ExitStack() as stack:
            silent = [stack.enter_context(connect(server)) for _ in range(200)]
            assert everything(silent[-1]).bytes == b""  # it was accepted, and closed
        until(lambda: server.get("/health/live").status == 200)
        status, stderr = server.stop()
    assert status == 0
    assert "closed at once: 1 connections" in stderr
    assert len(stderr.splitlines()) == 3, stderr


def test_a_connection_that_is_to_close_does_not_wait_for_its_reader_for_ever():
    class Unread(asyncio.Transport):
        """Has something left that is never taken."""

        closing = False
        taken = 0  # of it, so often

        def __init__(self, cut, own):
            super().__init__()
            self.socket = own
            self.abort = cut
            self.unsent = 1 << 20

        def get_extra_info(self, _):
            return self.socket

        def get_write_buffer_size(self):
            self.unsent -= (1 << 14) * (self.taken > 0)
            self.taken -= 1
            return self.unsent

        def is_closing(self):
            return self.closing

        def close(self):
            self.closing = True

        def write(self, _):
            pass

    async def ended(how, taken=0):
        cut = asyncio.Event()
        waits = Patience(connections=1, header_seconds=PATIENCE, send_seconds=0.001)
        kind = guarded(waits, lambda *_: None)
        protocol = kind(uvicorn.Config(lambda: None), ServerState(), {})
        with socket.socket() as own:
            transport = Unread(cut.set, own)
            transport.taken = taken
            protocol.connection_made(transport)
            how(protocol)
            await asyncio.wait_for(cut.wait(), PATIENCE)
            protocol.connection_lost(None)
        return transport.unsent

    for how in ("timeout_keep_alive_handler", "_too_slow", "_end"):
        asyncio.run(ended(methodcaller(how)))

    def answered(protocol):
        protocol.transport.close()
        protocol.on_response_complete()

    asyncio.run(ended(answered))
    # Who reads, however slowly, is waited for.
    assert asyncio.run(ended(answered, taken=10)) == (1 << 20) - 10 * (1 << 14)


SMUGGLED = head(path="/health/live", method="GET")


@pytest.mark.parametrize(
    "content",
    [
        head("Content-Length: 5", "Content-Length: 6") + b"12345" + SMUGGLED,
        head("Content-Length: +5") + b"12345" + SMUGGLED,
        head("Content-Length: 5, 5") + b"12345",
        head("Content-Length: -1"),
        head("Content-Length: 0x5") + b"12345",
        head("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
        head("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + b"0\r\n\r\n",
        head("Transfer-Encoding: xchunked") + b"0\r\n\r\n" + SMUGGLED,
        head("Transfer-Encoding : chunked") + b"0\r\n\r\n" + SMUGGLED,
        head("Transfer-Encoding: chunked") + b"5;\n\r12345\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"-1\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFFF\r\n",
        head(" X: folded").replace(b"Host: localhost\r\n", b""),
        head("X: a\rb"),
        head("X: a\0b"),
        b"GET / HTTP/1.1\nHost: localhost\n\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"\0" * 100,
        head("X: " + "a" * 100_000),
        head(*(f"X-{n}: {'a' * 100}" for n in range(1000))),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=lambda content: repr(content[:90])[-60:],
)
def test_what_is_not_quite_http_is_one_refusal_and_nothing_behind_it_is_read(server, content):
    said = say(server, content)
    assert len(said.statuses) <= 2
    assert all(400 <= status < 500 or status == 200 for status in said.statuses)
    assert b'"status":"live"' not in said.bytes or said.statuses[0] == 400
    if said.statuses == [400]:
        assert b"content-type: application/json\r\n" in said.bytes.lower()
        assert said.last["code"] in ("http.malformed", "request.not_json")
    assert alive(server)


def test_a_bomb_is_stopped_by_its_ratio_long_before_its_size(server):
    bomb = gzip.compress(b" " * 3_000_000)
    refused = server.post(PATH, bomb, {"Content-Encoding": "gzip"})
    assert refused.status == 400
    assert "over 100 times its size" in refused.json()["error"]


@pytest.mark.parametrize(
    "letter", ["\u0410", "\uff2d", "\u212a", "\u0130", "M\u0301", "\0", "\u200b", "\U0001d40c", "ß"]
)
def test_letters_that_only_look_like_residues_are_refused_with_their_place(server, letter):
    refused = server.post(PATH, {"items": [{"sequence": f"MK{letter}A"}]})
    assert refused.status == 400
    assert refused.json()["code"] == "request.invalid_sequence"
    assert "residue" in str(refused.json()["error"])
