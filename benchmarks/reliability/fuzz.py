"""Fuzzing: bytes that are almost HTTP, and bodies that are almost right, by the million.

    raw     requests with bytes flipped, cut, doubled, inserted, exchanged; as they are, to a socket
    bodies  JSON of the right kind with wrong parts: types, letters, lengths, names, numbers
    described  schemathesis, which reads the description and holds every answer against it

Each answer must be one that the description allows: never a 500, and never silence for longer than
a request takes. The server must be there afterwards, its worker never restarted. Another process
asks `/health/live` ten times a second meanwhile, each time on a new connection.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import random
import re
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.reliability.load import Connection, Refused, Request, request
from benchmarks.reliability.served import SLUG, served
from tests.wire.described import run_schemathesis

CONNECTIONS = 16  # more than keep the server busy
#: Seconds without an answer or a closed connection that are a hang.
HANG = 30.0
_SPAWN = multiprocessing.get_context("spawn")
#: Milliseconds within which `/health/live` is to answer.
_PROMPT = 100.0
#: Seconds without an answer after which a damaged request is taken for a half one.
_WAIT = 0.05
_SPLICES = (
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b" ",
    b":",
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\u0000",
    b"1e999",
)


def measure(raw: int, bodies: int) -> dict[str, Any]:
    """How many of each."""
    return asyncio.run(_measure(raw, bodies))


def described(examples: int) -> dict[str, Any]:
    """schemathesis, with so many examples for each operation and each way of making them."""
    token = "of-schemathesis"
    with (
        served("--max-residues=64", tokens=token) as server,
        tempfile.TemporaryDirectory() as place,
    ):
        url = f"http://127.0.0.1:{server.port}"
        begun = time.monotonic()
        run = run_schemathesis(
            url, Path(place), token=token, slug=SLUG, examples=examples, seconds=6 * 3600
        )
        asked = urllib.request.Request(
            f"{url}/metrics", headers={"Authorization": f"Token {token}"}
        )
        with urllib.request.urlopen(asked) as answer:
            sent = re.findall(r"^esm2_requests_total{.*} (.*)$", answer.read().decode(), re.M)
        return {
            "requests": round(sum(map(float, sent))),
            "exit_status": run.returncode,
            "said": run.stdout.strip().splitlines()[-12:],
            "seconds": round(time.monotonic() - begun),
        }


async def _measure(raw: int, bodies: int) -> dict[str, Any]:
    flags = ("--header-seconds=5", "--body-seconds=5", "--max-residues=64")
    with served(*flags) as server:
        worker = server.workers()
        begun = time.monotonic()
        with _watched(server.port) as live:
            said = await _shared(_raw, server.port, raw)
            between = time.monotonic()
            answered = await _shared(_bodies, server.port, bodies)
            ended = time.monotonic()
        statuses = said + answered
        return {
            "raw_cases": raw,
            "raw_answers": dict(sorted(said.items())),
            "raw_seconds": round(between - begun),
            "bodies": bodies,
            "body_answers": dict(sorted(answered.items())),
            "bodies_seconds": round(ended - between),
            "server_errors": sum(n for status, n in statuses.items() if status.startswith("5")),
            "hangs": statuses["hang"],
            "worker_restarted": server.workers() != worker,
            "alive": server.ready(),
            "live": live,
        }


@contextmanager
def _watched(port: int) -> Iterator[dict[str, float]]:
    """How long `/health/live` takes; filled in at the end."""
    figures: dict[str, float] = {}
    ours, theirs = _SPAWN.Pipe()
    watcher = _SPAWN.Process(target=_watch, args=(port, theirs), daemon=True)
    watcher.start()
    try:
        yield figures
    finally:
        ours.send(None)
        figures |= ours.recv()
        watcher.join()


def _watch(port: int, until: Any) -> None:
    """Ask until something comes on a pipe, and put the figures there."""
    seen = []
    while not until.poll(0.1):
        begun = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=HANG):
                seen.append(1000 * (time.monotonic() - begun))
        except OSError:
            seen.append(math.inf)
    seen.sort()
    slowest = seen[-1]
    late = sum(one > _PROMPT for one in seen)
    p999 = seen[int(0.999 * len(seen))]
    until.send(
        {
            "asked": len(seen),
            "p999_ms": round(p999, 1),
            "slowest_ms": round(slowest, 1),
            "late": late,
        }
    )


async def _shared(work: Any, port: int, cases: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    shares = [cases // CONNECTIONS + (n < cases % CONNECTIONS) for n in range(CONNECTIONS)]
    await asyncio.gather(*(work(port, share, counts, n) for n, share in enumerate(shares)))
    return counts


# --- raw bytes ---------------------------------------------------------------------------------


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A request with something wrong in it."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = rng.choice(_SPLICES)
        elif kind == 3:
            out[at:at] = out[at : at + rng.randrange(1, 40)]
        elif kind == 4:
            del out[at : at + rng.randrange(1, 40)]
        else:
            out[at:at] = rng.randbytes(rng.randrange(1, 20))
    return bytes(out)


async def _raw(port: int, cases: int, counts: Counter[str], seed: int) -> None:
    rng = random.Random(seed)
    patterns = [
        request(port, f"/api/v{n}/{SLUG}/encode", {"items": [{"sequence": "MKTAY"}]}).content
        for n in (1, 2, 3)
    ]
    chunked = b"POST /api/v3/%b/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'{"items":[{"sequence":"MK<mask>T"}]}'
    patterns.append(chunked % SLUG.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    for _ in range(cases):
        counts[await _said(port, damaged(rng.choice(patterns), rng))] += 1


async def _said(port: int, content: bytes) -> str:
    """The first status of what comes back.

    Where nothing comes, more is waited for: then the sending side is closed, which ends it.
    """
    try:
        async with asyncio.timeout(HANG):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(content)
                try:
                    said = await asyncio.wait_for(reader.read(12), _WAIT)
                except TimeoutError:
                    writer.write_eof()
                    said = await reader.read(12)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return "hang"
    except OSError:
        return "closed"
    return said[9:12].decode("latin-1") if said.startswith(b"HTTP/1.1 ") else "closed"


# --- bodies ------------------------------------------------------------------------------------


def _odd(rng: random.Random) -> Any:
    """A value that is wrong nearly everywhere."""
    return rng.choice(
        (
            *(None, True, 0, -1, 10**30, 1.5, -0.0, 1e308, "", " ", "\0", "é", "M" * 70, "<mask>"),
            *(
                [],
                {},
                [[]],
                [None],
                {"": ""},
                {"sequence": "M"},
                "MKT",
                "mkt",
                "M<mask>T",
                "J",
                "Ｍ",
            ),
        )
    )


def _body(rng: random.Random) -> Any:
    letters = "ACDEFGHIKLMNPQRSTVWYXBUZO.-"
    item: dict[str, Any] = {"sequence": "".join(rng.choices(letters, k=rng.randrange(1, 66)))}
    if rng.random() < 0.3:
        item["sequence"] += rng.choice(("<mask>", "*", "j", "<cls>", "\n", "1"))
    if rng.random() < 0.3:
        item["variants"] = [f"{rng.choice(letters)}{rng.randrange(70)}{rng.choice(letters)}"]
    body: dict[str, Any] = {"items": [item] * rng.choice((1, 1, 2, 8, 9))}
    if rng.random() < 0.5:
        include = rng.sample(["mean", "per_token", "bos", "logits", "contacts", "x"], 2)
        body["params"] = {"include": include, "repr_layers": [rng.randrange(-9, 9)]}
    if rng.random() < 0.5:
        place: Any = rng.choice((body, item, body.get("params", body)))
        place[rng.choice((*place, "unknown"))] = _odd(rng)
    return body


async def _bodies(port: int, cases: int, counts: Counter[str], seed: int) -> None:
    rng, connection = random.Random(seed), Connection(port)
    paths = [f"/api/v{n}/{SLUG}/{action}" for n in (1, 2, 3) for action in ("encode", "predict")]
    paths += [f"/api/v3/{SLUG}/log_prob", f"/api/v3/{SLUG}/score"]
    try:
        for _ in range(cases):
            raw = json.dumps(_body(rng)).encode()
            counts[await _status(connection, request(port, rng.choice(paths), None, raw=raw))] += 1
    finally:
        connection.close()


async def _status(connection: Connection, own: Request) -> str:
    try:
        async with asyncio.timeout(HANG):
            status, _, _ = await connection.ask(own.content)
    except TimeoutError:
        return "hang"
    except (OSError, EOFError, Refused) as error:
        return f"broken: {type(error).__name__}"
    return str(status)
