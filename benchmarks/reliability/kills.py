"""Kills and restarts under load: what callers see of them.

kills       the worker process gets SIGKILL, again and again, under load
restarts    the server gets SIGTERM, and another one takes the port when it has ended; callers
            try again where nobody listens, and nowhere else
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from benchmarks.reliability.load import Seen, closed_loop, learn, log_probs
from benchmarks.reliability.served import Served, free_port, served

CALLERS = 4


def kills(times: int) -> dict[str, Any]:
    """How often."""
    return asyncio.run(_kills(times))


async def _kills(times: int) -> dict[str, Any]:
    with served() as server:
        requests = log_probs(server.port, 30, 4, 200)
        await learn(server.port, requests)
        before = server.held()
        down: list[float] = []

        async def kill() -> None:
            for _ in range(times):
                await asyncio.sleep(0.5)
                os.kill(server.workers()[0], signal.SIGKILL)
                begun = time.monotonic()
                while not await asyncio.to_thread(server.ready):
                    await asyncio.sleep(0.05)
                down.append(time.monotonic() - begun)

        async def load() -> Seen:
            seen = Seen()
            while not killing.done():
                part = await closed_loop(server.port, requests, CALLERS, 1)
                _add(seen, part)
            return seen

        killing = asyncio.create_task(kill())
        seen = await load()
        await killing
        after = server.held()
        return {
            "kills": times,
            **seen.figures(),
            "ready_again_seconds": round(max(down), 2),
            "rss_mb": [before.rss_mb, after.rss_mb],
            "files": [before.files, after.files],
            "threads": [before.threads, after.threads],
            "zombies": server.zombies(),
        }


def restarts(times: int) -> dict[str, Any]:
    """How often."""
    return asyncio.run(_restarts(times))


async def _restarts(times: int) -> dict[str, Any]:
    port, flags = free_port(), ("--drain-seconds=0.3",)
    server = Served(port, flags, "")
    server.wait_until_ready()
    requests = log_probs(port, 30, 4, 200)
    await learn(port, requests)
    stops: list[float] = []
    exits: set[int] = set()

    async def restart() -> None:
        nonlocal server
        for _ in range(times):
            await asyncio.sleep(0.3)
            status, seconds = await asyncio.to_thread(server.stop)
            exits.add(status)
            stops.append(seconds)
            server = Served(port, flags, "")
            await asyncio.to_thread(server.wait_until_ready)

    seen = Seen()
    restarting = asyncio.create_task(restart())
    while not restarting.done():
        _add(seen, await closed_loop(port, requests, CALLERS, 1))
    await restarting
    server.stop()
    figures = seen.figures()
    dropped = sum(
        count for status, count in seen.statuses.items() if status not in ("200", "refused")
    )
    return {
        "restarts": times,
        **figures,
        "dropped": dropped,
        "slowest_stop_seconds": round(max(stops), 2),
        "exit_statuses": sorted(exits),
    }


def _add(seen: Seen, part: Seen) -> None:
    seen.statuses += part.statuses
    seen.seconds += part.seconds
    seen.wrong += part.wrong
    seen.took += part.took
    seen.caller_cpu += part.caller_cpu
