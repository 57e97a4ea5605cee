"""A soak: hours of everything at once, and whether memory, files or threads grow.

Arrivals at random, at about 70 % of what the server can: every action, every output, three
generations, JSON and arrays, gzip, bad requests, callers who hang up, a worker killed every ten
minutes. What the server and its workers hold is noted every 10 seconds. The first tenth is warming
up; growth is the mean of the last tenth less that of the tenth after the first, and the slope is
that of a line through everything after the first tenth. Ctrl-C ends it early, and says so.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.reliability.load import (
    Connection,
    Request,
    Seen,
    closed_loop,
    learn,
    open_loop,
    protein,
    request,
)
from benchmarks.reliability.served import SLUG, Held, Served, served

SHARE = 0.7
EVERY = 10.0  # seconds between two notes
KILL_EVERY = 600.0
KINDS = ["mean", "per_token", "bos", "logits", "contacts", "attentions"]


def measure(hours: float) -> dict[str, Any]:
    """How long."""
    return asyncio.run(_measure(3600 * hours))


def mixture(port: int) -> list[Request]:
    """Good requests of every kind, each as often as it is in the list."""
    rng = random.Random(7)
    made = []
    for _ in range(12):
        one, two = protein(rng, rng.randint(50, 500)), protein(rng, rng.randint(50, 200))
        masked = one[:10] + "<mask>" + one[11:]
        items = {"items": [{"sequence": one}, {"sequence": two}]}
        everything = {**items, "params": {"include": KINDS, "repr_layers": [0, 3, -1]}}
        variants = [f"{one[0]}1A", f"{one[4]}5W:{one[7]}8K"]
        scored = {"items": [{"sequence": one, "variants": variants}]}
        zipped = gzip.compress(json.dumps(items).encode())
        npz = {"Accept": "application/x-npz"}
        tensors = {"Accept": "application/vnd.safetensors;dtype=float16"}
        made += [
            request(port, f"/api/v2/{SLUG}/encode/", items),
            request(port, f"/api/v3/{SLUG}/encode", everything, headers=npz),
            request(port, f"/api/v3/{SLUG}/encode", everything, headers=tensors),
            request(
                port, f"/api/v2/{SLUG}/encode/", everything, headers={"Accept-Encoding": "gzip"}
            ),
            request(port, f"/api/v1/{SLUG}/encode", items),
            request(port, f"/api/v2/{SLUG}/predict/", {"items": [{"sequence": masked}]}),
            request(port, f"/api/v3/{SLUG}/log_prob", items),
            request(port, f"/api/v3/{SLUG}/score", scored),
            request(
                port,
                f"/api/v3/{SLUG}/encode",
                None,
                raw=zipped,
                headers={"Content-Encoding": "gzip"},
            ),
        ]
    return made


def bad(port: int) -> list[Request]:
    """Requests that are refused."""
    path = f"/api/v3/{SLUG}/encode"
    return [
        request(port, path, {"items": [{"sequence": "MKTJ"}]}),
        request(port, path, {"items": []}),
        request(port, path, None, raw=b'{"items": ['),
        request(
            port,
            path,
            None,
            raw=gzip.compress(b" " * 5_000_000),
            headers={"Content-Encoding": "gzip"},
        ),
        request(port, "/api/v3/nobody/encode", {"items": [{"sequence": "M"}]}),
        request(port, "/nowhere", {}),
    ]


async def _measure(seconds: float) -> dict[str, Any]:
    with served() as server:
        good = mixture(server.port)
        await learn(server.port, good)
        quick = await closed_loop(server.port, good, 4, min(30.0, seconds / 20))
        rate = SHARE * len(quick.seconds) / quick.took
        notes: list[tuple[float, Held]] = []
        seen, refused = Seen(), Seen()
        beside = [
            asyncio.create_task(_note(server, notes)),
            asyncio.create_task(_kill(server)),
            asyncio.create_task(_ask_badly(server.port, refused)),
            asyncio.create_task(_hang_up(server.port, good)),
        ]
        begun, early = time.monotonic(), False
        try:
            while (left := begun + seconds - time.monotonic()) > 0:
                part = await open_loop(server.port, good, rate, min(60.0, left))
                seen.statuses += part.statuses
                seen.seconds = (seen.seconds + part.seconds)[-100_000:]
                seen.wrong += part.wrong
                seen.took += part.took
                seen.caller_cpu += part.caller_cpu
                print(f"{(time.monotonic() - begun) / 60:6.1f} min", notes[-1][1], flush=True)
        except asyncio.CancelledError:
            early = True
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        took = time.monotonic() - begun
    return {
        "hours": round(took / 3600, 2),
        "ended_early": early,
        "requests": sum(seen.statuses.values()),
        "requests_per_second": round(sum(seen.statuses.values()) / took, 1),
        "statuses": dict(sorted(seen.statuses.items())),
        "statuses_of_bad_requests": dict(sorted(refused.statuses.items())),
        "wrong_results": seen.wrong,
        **_trend(notes),
        "notes": [
            [round(at / 60, 1), *asdict(held).values()]
            for at, held in notes[:: max(1, len(notes) // 60)]
        ],
    }


def _trend(notes: list[tuple[float, Held]]) -> dict[str, Any]:
    tenth = max(1, len(notes) // 10)
    settled = notes[len(notes) // 10 :]
    at = np.array([when for when, _ in settled]) / 3600
    rss = np.array([held.rss_mb for _, held in settled])
    slope = float(np.polyfit(at, rss, 1)[0]) if len(settled) > 2 else 0.0
    first, last = settled[:tenth], settled[-tenth:]
    return {
        "rss_mb": [round(float(np.mean([h.rss_mb for _, h in part])), 1) for part in (first, last)],
        "growth_mb": round(float(rss[-tenth:].mean() - rss[:tenth].mean()), 1),
        "slope_mb_per_hour": round(slope, 2),
        "files": [max(h.files for _, h in part) for part in (first, last)],
        "threads": [max(h.threads for _, h in part) for part in (first, last)],
    }


async def _note(server: Served, notes: list[tuple[float, Held]]) -> None:
    begun = time.monotonic()
    while True:
        notes.append((time.monotonic() - begun, server.held()))
        await asyncio.sleep(EVERY)


async def _kill(server: Served) -> None:
    while True:
        await asyncio.sleep(KILL_EVERY)
        os.kill(server.workers()[0], signal.SIGKILL)


async def _ask_badly(port: int, seen: Seen) -> None:
    connection, requests = Connection(port), bad(port)
    try:
        while True:
            for own in requests:
                try:
                    status, _, _ = await connection.ask(own.content)
                    seen.statuses[str(status)] += 1
                except (OSError, EOFError):
                    seen.statuses["closed"] += 1
                await asyncio.sleep(0.2)
    finally:
        connection.close()


async def _hang_up(port: int, requests: list[Request]) -> None:
    """Callers who leave: with half a request, without waiting, in the middle of the answer."""
    rng = random.Random(7)
    while True:
        content = rng.choice(requests).content
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(content[: rng.choice((10, len(content) // 2, len(content)))])
                await writer.drain()
                if rng.random() < 0.3:
                    await asyncio.wait_for(reader.read(100), 0.5)
            finally:
                writer.close()
        await asyncio.sleep(0.5)
