"""Overload: what the server does at 1, 2 and 10 times what it can; and afterwards.

Requests of 8 proteins of 300 residues whose answer is 8 numbers. Capacity is what 2 callers in a
closed loop get. Then arrivals at random at 0.8, 1, 2 and 10 times that, then at 0.8 again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from benchmarks.reliability.load import Seen, closed_loop, learn, log_probs, open_loop
from benchmarks.reliability.served import served

#: So little may wait that an accepted request is answered soon.
MAX_WAIT = 0.2
FACTORS = (0.8, 1.0, 2.0, 10.0)


def measure(seconds: float) -> dict[str, Any]:
    """Seconds for each load."""
    return asyncio.run(_measure(seconds))


async def _measure(seconds: float) -> dict[str, Any]:
    with served(f"--max-wait-seconds={MAX_WAIT}", "--max-connections=5000") as server:
        requests = log_probs(server.port, 50, 8, 300)
        await learn(server.port, requests)
        alone = await closed_loop(server.port, requests, 2, seconds / 3)
        capacity = len(alone.seconds) / alone.took
        result: dict[str, Any] = {"max_wait_seconds": MAX_WAIT, "capacity": round(capacity, 1)}
        result["loads"] = []
        for factor in FACTORS:
            seen = await open_loop(server.port, requests, factor * capacity, seconds)
            load = {"load": factor, "offered": round(factor * capacity, 1), **seen.figures()}
            result["loads"].append({**load, "rss_mb": server.held().rss_mb})
            print(load, flush=True)
        after = await open_loop(server.port, requests, FACTORS[0] * capacity, seconds / 2)
        normal = result["loads"][0]["p99_ms"] / 1000
        result["after"] = after.figures() | {"rss_mb": server.held().rss_mb}
        result["recovered_seconds"] = _recovered(after, normal)
        worst = max(load["p99_ms"] for load in result["loads"][1:])
        result["p99_ratio_to_80_percent"] = round(worst / result["loads"][0]["p99_ms"], 2)
        everything = [*result["loads"], result["after"]]
        result["statuses"] = sorted({status for load in everything for status in load["statuses"]})
        result["wrong_results"] = sum(load["wrong_results"] for load in everything)
    return result


def _recovered(seen: Seen, normal: float) -> float:
    """Seconds until no request that ends takes more than twice the normal p99."""
    begun = min(seen.ended) - seen.seconds[0]
    slow = [at for at, took in zip(seen.ended, seen.seconds, strict=True) if took > 2 * normal]
    # Single slow ones later on are chance: what counts is the first second without any.
    at = np.sort(np.array(slow)) - begun
    second = 0
    while np.any((at >= second) & (at < second + 1)):
        second += 1
    return float(second)
