"""Attacks of docs/reliability.md, and what everybody else sees of each.

Bodies full of bad values while `/health/live` is asked, readiness by 128 clients, a long request,
readers who read nothing; silent connections where few files may be open; and very many at once.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import Any

from benchmarks.reliability.load import protein
from benchmarks.reliability.served import ESM2, PATIENCE, SLUG, Served, free_port, served

#: Where a body has lists, and the values that fill them: small, and wrong or at their limit.
_BODIES: dict[str, tuple[str, str, str, str]] = {
    "items": ("encode", '{"items":[', "0,", "0]}"),
    "items, empty objects": ("encode", '{"items":[', "{},", "{}]}"),
    "layers of predict": (
        "predict",
        '{"items":[{"sequence":"M"}],"params":{"repr_layers":[',
        "0.5,",
        "0.5]}}",
    ),
    "outputs": (
        "encode",
        '{"items":[{"sequence":"M"}],"params":{"include":[',
        '"",',
        '""]}}',
    ),
    "variants": ("score", '{"items":[{"sequence":"M","variants":[', '"",', '""]}]}'),
    "metadata, lists": ("encode", '{"items":[{"sequence":"M","metadata":[', "[],", "0]}]}"),
    "metadata, names": ("encode", '{"items":[{"sequence":"M","metadata":{', '"":0,', '"":0}}]}'),
    "lists in lists": ("encode", '{"items":[', "[" * 64, ""),
    "a sequence": ("encode", '{"items":[{"sequence":"', "M", '"}]}'),
    "a sequence of escapes": ("encode", '{"items":[{"sequence":"', "\\u004d", '"}]}'),
    "fields": ("encode", '{"items":[{"sequence":"M"}],', '"a":0,', '"a":0}'),
}


def measure(seconds: float) -> dict[str, Any]:
    """Seconds for each of those that last."""
    with served() as server:
        largest = _limit(server.port)
        figures = {
            "bodies": {"bytes": largest, **_bodies(server, largest)},
            "readiness": _readiness(server, seconds),
            "long_request": _long_request(server),
            "readers": _readers(server, seconds),
        }
    figures["silent"] = [_silent(200, 128), _silent(100, 64)]
    figures["at_once"] = _at_once(640)
    return figures


def _limit(port: int) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", "/info")
        return int(json.load(connection.getresponse())["limits"]["max_body_bytes"])


def _bodies(server: Served, largest: int) -> dict[str, Any]:
    """The longest that `/health/live` waited, for each body, plain and as gzip."""
    waits, statuses = {}, set()
    for name, (action, begin, value, end) in _BODIES.items():
        room = largest - len(begin) - len(end)
        body = (begin + value * (room // len(value)) + end).encode()
        assert len(body) <= largest
        for kind in ("", "gzip"):
            headers = {"Content-Type": "application/json", "Content-Encoding": kind or "identity"}
            sent = gzip.compress(body, 9) if kind else body
            with _watched(server.port) as seen:
                statuses |= {_post(server.port, action, sent, headers) for _ in range(3)}
            waits[f"{name}{', ' * bool(kind)}{kind}"] = round(max(seen) * 1000, 1)
    worst = max(waits, key=lambda name: waits[name])
    return {
        "live_ms": waits,
        "worst": worst,
        "worst_ms": waits[worst],
        "statuses": sorted(statuses),
        "rss_mb": server.held().rss_mb,
    }


def _readiness(server: Served, seconds: float) -> dict[str, Any]:
    """128 clients ask for readiness; a protein of 50 residues is embedded again and again."""
    until, asked = time.monotonic() + seconds, [0] * 128

    def ask(client: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
            while time.monotonic() < until:
                connection.request("GET", "/health/ready")
                asked[client] += connection.getresponse().read() != b""

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(128)]
    for client in clients:
        client.start()
    took = []
    while time.monotonic() < until:
        begun = time.monotonic()
        assert _short(server.port) == 200
        took.append(time.monotonic() - begun)
    for client in clients:
        client.join()
    return {"checks_per_second": round(sum(asked) / seconds), **_milliseconds(took)}


def _long_request(server: Served) -> dict[str, Any]:
    """8 x 2048 contacts; meanwhile readiness, and a protein of 50 residues."""
    ready, short = [], []
    with _asking(server.port, _contacts(8)) as curl:
        while curl.poll() is None:
            begun = time.monotonic()
            assert server.ready()
            middle = time.monotonic()
            assert _short(server.port) == 200
            ready.append(middle - begun)
            short.append(time.monotonic() - middle)
    return {"readiness": _milliseconds(ready), "short": _milliseconds(short)}


def _readers(server: Served, seconds: float) -> dict[str, Any]:
    """12 callers ask for 8 x 2048 contacts and read nothing; others are answered."""
    before, most = server.held().rss_mb, 0.0
    body = json.dumps(_contacts(8)).encode()
    path = f"/api/v3/{SLUG}/encode"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    took, until = [], time.monotonic() + seconds
    with ExitStack() as stack:
        for _ in range(12):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(head.encode() + body)
        while time.monotonic() < until:
            begun = time.monotonic()
            assert _short(server.port) == 200
            took.append(time.monotonic() - begun)
            most = max(most, server.held().rss_mb)
    return {"rss_mb": [before, most], "short": _milliseconds(took)}


def _silent(connections: int, files: int) -> dict[str, Any]:
    """Connections that say nothing, to a server of which so many files may be open."""
    port = free_port()
    command = f'ulimit -n {files}; exec "$0" serve --port {port}'
    started = subprocess.Popen(
        ["bash", "-c", command, str(ESM2)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _until_live(port)
        with ExitStack() as stack:
            silent = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(connections)
            ]
            time.sleep(5)
            closed = sum(_closed(own) for own in silent)
        _until_live(port)
        started.send_signal(signal.SIGTERM)
        _, said = started.communicate(timeout=PATIENCE)
    finally:
        started.kill()
    refused = [line for line in said.splitlines() if b"closed at once" in line]
    return {
        "connections": connections,
        "files": files,
        "closed": closed,
        "lines_about_them": len(refused),
        "lines": len(said.splitlines()),
        "exit_status": started.returncode,
    }


def _at_once(requests: int) -> dict[str, Any]:
    """What many requests at once, three times, leave behind in a server's memory."""
    rng = random.Random(7)
    outputs = (["mean"], ["per_token"], ["contacts"], ["logits"])
    bodies = [
        {
            "items": [{"sequence": protein(rng, rng.choice((50, 200, 500, 1000)))}],
            "params": {"include": rng.choice(outputs)},
        }
        for _ in range(requests)
    ]
    with served() as server:
        statuses = {_short(server.port) for _ in range(20)}
        memory = [server.held().rss_mb]
        for _ in range(3):
            with ThreadPoolExecutor(requests) as callers:
                statuses |= set(callers.map(partial(_encode, server.port), bodies))
            memory.append(server.held().rss_mb)
    return {"requests": requests, "statuses": sorted(statuses), "rss_mb": memory}


def _encode(port: int, body: dict[str, Any]) -> int:
    return _post(port, "encode", json.dumps(body).encode(), {"Content-Type": "application/json"})


def _closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _until_live(port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            _live(port)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the server does not answer")


@contextmanager
def _watched(port: int) -> Iterator[list[float]]:
    """Seconds that `/health/live` takes, asked without a pause."""
    seen, ended = [_live(port)], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.append(_live(port))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@contextmanager
def _asking(port: int, body: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """curl, which is another process: reading 134 MB must not hold up this one's clock."""
    url = f"http://127.0.0.1:{port}/api/v3/{SLUG}/encode"
    command = ["curl", "-s", "-o", os.devnull, "-H", "Accept: application/x-npz", "-d", "@-", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as curl:
        assert curl.stdin
        curl.stdin.write(json.dumps(body).encode())
        curl.stdin.close()
        yield curl


def _live(port: int) -> float:
    begun = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
    return time.monotonic() - begun


def _short(port: int) -> int:
    return _encode(port, {"items": [{"sequence": protein(random.Random(7), 50)}]})


def _post(port: int, action: str, body: bytes, headers: dict[str, str]) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        with suppress(OSError):  # refused before it was read to its end: the answer is there
            connection.request("POST", f"/api/v3/{SLUG}/{action}", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _contacts(items: int) -> dict[str, Any]:
    rng = random.Random(7)
    return {
        "items": [{"sequence": protein(rng, 2048)} for _ in range(items)],
        "params": {"include": ["contacts"]},
    }


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(statistics.median(seconds) * 1000, 1),
        "most_ms": round(max(seconds) * 1000, 1),
    }
