"""Fairness: what one caller's long requests cost another one's short ones.

B asks for the log-probability of one protein of 100 residues, 10 times a second, alone; then while
A keeps requests of contacts of 8 proteins of 2048 residues in flight. They have a token each.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import random
from typing import Any

from benchmarks.reliability.load import learn, log_probs, open_loop, protein
from benchmarks.reliability.served import SLUG, served

RATE = 10.0
_SPAWN = multiprocessing.get_context("spawn")


def measure(seconds: float) -> dict[str, Any]:
    """Seconds for each half."""
    return {f"workers_{workers}": asyncio.run(_measure(workers, seconds)) for workers in (1, 2)}


async def _measure(workers: int, seconds: float) -> dict[str, Any]:
    with served(f"--workers={workers}", tokens="of-a,of-b") as server:
        rng = random.Random(7)
        short = log_probs(server.port, 50, 1, 100, "of-b")
        body = {
            "items": [{"sequence": protein(rng, 2048)} for _ in range(8)],
            "params": {"include": ["contacts"]},
        }
        await learn(server.port, short)
        alone = await open_loop(server.port, short, RATE, seconds)
        # A is a process of its own: reading 134 MB must not hold up B's clock.
        answered = _SPAWN.Value("i", 0)
        long_callers = [
            _SPAWN.Process(target=_keep_asking, args=(server.port, body, answered), daemon=True)
            for _ in range(2)
        ]
        for caller in long_callers:
            caller.start()
        await asyncio.sleep(3)
        beside = await open_loop(server.port, short, RATE, seconds)
        for caller in long_callers:
            caller.terminate()
            caller.join()
    one, other = alone.figures(), beside.figures()
    return {
        "alone": one,
        "beside": other,
        "long_requests_answered": answered.value,
        "p50_ratio": round(other["p50_ms"] / one["p50_ms"], 2),
        "p99_ratio": round(other["p99_ms"] / one["p99_ms"], 2),
    }


def _keep_asking(port: int, body: dict[str, Any], answered: Any) -> None:
    headers = {"Authorization": "Token of-a", "Accept": "application/x-npz"}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    content, buffer = json.dumps(body), bytearray(1 << 20)
    while True:
        connection.request("POST", f"/api/v3/{SLUG}/encode", content, headers)
        answer = connection.getresponse()
        assert answer.status == 200
        while answer.readinto(buffer):
            pass
        with answered.get_lock():
            answered.value += 1
