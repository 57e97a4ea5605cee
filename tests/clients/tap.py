"""A wire tap: passes every byte on unchanged, and remembers what clients said.

    client  <->  Tap (an address of its own)  <->  server

It is how a client that can only speak to localhost:8000 reaches a server on another port, and how
a test knows what was really on the wire.
"""

from __future__ import annotations

import gzip
import http.client
import io
import json
import select
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Heard:
    """A request as it was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, inflated if need be."""
        zipped = self.headers.get("Content-Encoding") == "gzip"
        return json.loads(gzip.decompress(self.body) if zipped else self.body)


class _Relay(socketserver.BaseRequestHandler):
    server: Tap

    def handle(self) -> None:
        said = bytearray()
        self.server.said.append(said)
        with suppress(ConnectionError), socket.create_connection(self.server.target) as there:
            other = {self.request: there, there: self.request}
            while True:
                for side in select.select(list(other), [], [])[0]:
                    data = side.recv(1 << 16)
                    if not data:
                        return
                    if side is self.request:
                        said += data
                    other[side].sendall(data)


class Tap(socketserver.ThreadingTCPServer):
    """A tap in front of a server.

    Attributes:
        target: host and port of the server.
        url: "http://127.0.0.1:PORT".
        said: what was sent on each connection.
    """

    def __init__(self, target: tuple[str, int], listening: socket.socket) -> None:
        super().__init__(listening.getsockname(), _Relay, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.target = target
        self.said: list[bytearray] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def heard(self) -> list[Heard]:
        """Every request so far, those of one connection in order."""
        return [request for said in self.said for request in _requests(io.BytesIO(said))]


def _requests(stream: io.BytesIO) -> Iterator[Heard]:
    while line := stream.readline():
        method, path, _ = line.decode("latin-1").split(" ")
        headers = http.client.parse_headers(stream)
        body = stream.read(int(headers.get("Content-Length", 0)))
        yield Heard(method, path, headers, body)


@contextmanager
def tapping(target: tuple[str, int], listening: socket.socket) -> Iterator[Tap]:
    """A tap on whatever comes to a listening socket."""
    with Tap(target, listening) as tap:
        thread = threading.Thread(target=tap.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield tap
        finally:
            tap.shutdown()
            thread.join()
