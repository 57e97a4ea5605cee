"""Callers: closed loop and open loop, every answer compared with the one of a quiet server.

Open loop: arrivals at random (Poisson, seeded) at a rate that does not care how the server does;
the time of a request counts from when it should have been sent, so that waiting for a free
connection is not left out. The callers are one process of asyncio with requests made beforehand;
its share of a core is in the results.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.reliability.served import SLUG

_NATURAL = (
    "AAAAAAAARRRRRNNNNDDDDDCQQQQEEEEEEGGGGGGGHHIIIIII"
    "LLLLLLLLLLKKKKKKMMFFFFPPPPPSSSSSSSTTTTTWYYYVVVVVVV"
)


def protein(rng: random.Random, length: int) -> str:
    """Residues with about the frequencies of UniProt."""
    return "".join(rng.choices(_NATURAL, k=length))


@dataclass
class Request:
    """A request as bytes; `expected` is the body of its answer on a quiet server."""

    content: bytes
    expected: bytes | None = None


def request(
    port: int,
    path: str,
    body: Any,
    token: str = "",
    *,
    headers: dict[str, str] | None = None,
    raw: bytes | None = None,
) -> Request:
    """A POST.

    Args:
        body: written as JSON.
        raw: the body instead, as it is.
    """
    content = raw if raw is not None else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(content)}"]
    lines += [f"Authorization: Token {token}"] if token else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return Request("\r\n".join([*lines, "", ""]).encode() + content)


def log_probs(port: int, count: int, items: int, length: int, token: str = "") -> list[Request]:
    """Requests that are computing and little else: the answer is a number for each protein."""
    rng = random.Random(7)
    made = []
    for _ in range(count):
        body = {"items": [{"sequence": protein(rng, length)} for _ in range(items)]}
        made.append(request(port, f"/api/v3/{SLUG}/log_prob", body, token))
    return made


class Refused(Exception):
    """The connection was refused: nothing was accepted."""


@dataclass
class Connection:
    """One connection, kept between requests."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(self, content: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """Send a request and read its whole answer: (status, headers, body).

        Raises:
            Refused: nobody listens.
            OSError, EOFError: the connection broke.
        """
        if self.writer is None or self.writer.is_closing():
            self.close()
            try:
                self.reader, self.writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, limit=1 << 20
                )
            except OSError as error:
                raise Refused from error
        assert self.reader
        try:
            self.writer.write(content)
            await self.writer.drain()
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines if line)
            body = await self._body(headers)
        except BaseException:
            self.close()
            raise
        if headers.get(b"connection") == b"close":
            self.close()
        return int(first.split()[1]), headers, body

    async def _body(self, headers: dict[bytes, bytes]) -> bytes:
        assert self.reader
        if b"content-length" in headers:
            return await self.reader.readexactly(int(headers[b"content-length"]))
        parts = []
        while size := int(await self.reader.readline(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readline()
        return b"".join(parts)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None


@dataclass
class Seen:
    """What callers saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of accepted requests
    ended: list[float] = field(default_factory=list)  # when, of accepted requests
    wrong: int = 0
    without_retry_after: int = 0
    took: float = 0.0
    caller_cpu: float = 0.0

    def note(self, status: int, headers: dict[bytes, bytes], right: bool, seconds: float) -> None:
        self.statuses[str(status)] += 1
        if status == 200:
            self.seconds.append(seconds)
            self.ended.append(time.monotonic())
            self.wrong += not right
        if status == 429 and int(headers.get(b"retry-after", b"0")) < 1:
            self.without_retry_after += 1

    def figures(self) -> dict[str, Any]:
        milliseconds = 1000 * np.array(self.seconds or [0.0])
        p50, p95, p99 = (float(np.percentile(milliseconds, q)) for q in (50, 95, 99))
        return {
            "accepted_per_second": round(len(self.seconds) / self.took, 1) if self.took else 0,
            "statuses": dict(sorted(self.statuses.items())),
            "wrong_results": self.wrong,
            "429_without_retry_after": self.without_retry_after,
            "p50_ms": round(p50, 1),
            "p95_ms": round(p95, 1),
            "p99_ms": round(p99, 1),
            "caller_cores": round(self.caller_cpu / self.took, 2) if self.took else 0,
        }


async def learn(port: int, requests: Sequence[Request]) -> None:
    """Ask each request once, alone, and keep the answers."""
    connection = Connection(port)
    for own in requests:
        status, _, own.expected = await connection.ask(own.content)
        assert status == 200, own.expected[:300]
    connection.close()


async def closed_loop(port: int, requests: Sequence[Request], callers: int, seconds: float) -> Seen:
    """So many callers, each with one request at a time."""
    seen, until = Seen(), time.monotonic() + seconds

    async def call(number: int) -> None:
        connection, rng = Connection(port), random.Random(number)
        try:
            while time.monotonic() < until:
                await _ask(connection, rng.choice(requests), seen, time.monotonic())
        finally:
            connection.close()

    return await _timed(seen, *(call(number) for number in range(callers)))


async def open_loop(port: int, requests: Sequence[Request], rate: float, seconds: float) -> Seen:
    """Arrivals at random, `rate` of them a second."""
    seen, rng = Seen(), random.Random(7)
    idle: list[Connection] = []
    asked: set[asyncio.Task[None]] = set()

    async def one(own: Request, due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        await _ask(connection, own, seen, due)
        idle.append(connection)

    async def arrivals() -> None:
        due, until = time.monotonic(), time.monotonic() + seconds
        while due < until:
            due += rng.expovariate(rate)
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            task = asyncio.create_task(one(rng.choice(requests), due))
            asked.add(task)
            task.add_done_callback(asked.discard)
        await asyncio.gather(*asked)

    try:
        await _timed(seen, arrivals())
    finally:
        for connection in idle:
            connection.close()
    return seen


async def _ask(connection: Connection, own: Request, seen: Seen, due: float) -> None:
    try:
        status, headers, body = await connection.ask(own.content)
    except Refused:
        seen.statuses["refused"] += 1
        await asyncio.sleep(0.02)
    except (OSError, EOFError) as error:
        seen.statuses[f"broken: {type(error).__name__}"] += 1
    else:
        right = own.expected is None or body == own.expected
        seen.note(status, headers, right, time.monotonic() - due)


async def _timed(seen: Seen, *work: Any) -> Seen:
    begun, cpu = time.monotonic(), _cpu()
    await asyncio.gather(*work)
    seen.took, seen.caller_cpu = time.monotonic() - begun, _cpu() - cpu
    return seen


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
