"""A server on loopback that answers what a test says, and remembers what it was asked.

    with scripted(lambda number, request: BUSY if number == 0 else arrays_for(request)) as server:
        Client(server.url, ...)

Its /info speaks of one model, `SLUG`; every POST is answered by the test's function, in a thread
of its own.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

SLUG = "my-slug"
LAYERS, DIM = 2, 4
WEIGHTS = "a" * 64
LIMITS = {"max_items": 2, "max_residues": 50, "max_body_bytes": 4096, "queue_tokens": 1000}
INFO = {
    "version": "0.0.0",
    "versions": {},
    "limits": LIMITS,
    "models": [
        {
            "slug": SLUG,
            "shape": {"layers": LAYERS, "dim": DIM, "heads": 2},
            "device": "none",
            "dtype": "float32",
            "kernel": "none",
            "weights_sha256": WEIGHTS,
            "weights_kind": "custom",
            "contacts": True,
            "pack_tokens": 100,
            "threads": 0,
            "batch_invariant": False,
        }
    ],
}


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def sequences(self) -> list[str]:
        packed = self.headers.get("Content-Encoding") == "gzip"
        content = json.loads(gzip.decompress(self.body) if packed else self.body)
        return [item["sequence"] for item in content["items"]]


@dataclass(frozen=True)
class Answer:
    """What is sent back; `promised` more bytes than the body has cut it short."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int = 0


#: The connection is closed without an answer.
HUNG_UP = Answer(0)


def said(status: int, content: object, **headers: str) -> Answer:
    """JSON; `retry_after="3"` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(content).encode()
    return Answer(status, body, {"Content-Type": "application/json", **named})


BUSY = said(429, {"error": "the queue is full; try again later", "code": "service.overloaded"})
STOPPING = said(503, {"error": "the server is stopping", "code": "service.shutting_down"})


def npz(arrays: Mapping[str, Any], weights: str = WEIGHTS) -> Answer:
    file = io.BytesIO()
    np.savez(file, **arrays)
    headers = {"Content-Type": "application/x-npz", "X-ESM2-Weights": weights}
    return Answer(200, file.getvalue(), headers)


def means(request: Request) -> Answer:
    """Encode with the mean of the last layer; every number is the length of the sequence."""
    return npz(
        {
            f"{index}.mean.{LAYERS}": np.full(DIM, len(sequence), np.float32)
            for index, sequence in enumerate(request.sequences)
        }
    )


class Scripted:
    """A running one.

    Attributes:
        url: its address.
        asked: every request so far, /info left out.
        info: what /info answers.
    """

    def __init__(self, answer: Callable[[int, Request], Answer]) -> None:
        self.asked: list[Request] = []
        self.info = said(200, INFO)
        number = itertools.count()
        lock = threading.Lock()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(scripted.info)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                request = Request(self.path, dict(self.headers), self.rfile.read(length))
                with lock:
                    scripted.asked.append(request)
                    own = next(number)
                self._send(answer(own, request))

            def _send(self, own: Answer) -> None:
                self.close_connection = own is HUNG_UP or own.promised > 0
                if own is HUNG_UP:
                    return
                self.send_response(own.status)
                for name, value in own.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(own.body) + own.promised))
                self.end_headers()
                self.wfile.write(own.body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that hung up is no trouble of the server."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def scripted(answer: Callable[[int, Request], Answer]) -> Iterator[Scripted]:
    """A server whose POST number 0, 1, ... is answered by this function."""
    own = Scripted(answer)
    thread = threading.Thread(target=own.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield own
    finally:
        own.server.shutdown()
        own.server.server_close()
        thread.join()
