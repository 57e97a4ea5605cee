"""Fairness: what one caller's work costs another one's short requests.

B asks for the log-probability of one protein of 100 residues, 10 times a second: alone; while A
keeps requests of contacts of 8 proteins of 2048 residues in flight; while A embeds a file with
`esm2 embed --url`. They have a token each.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import multiprocessing
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.reliability.load import learn, log_probs, open_loop, protein
from benchmarks.reliability.served import ESM2, SLUG, served

RATE = 10.0
_FILE = 20_000  # proteins
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
        with _embedding(server.port, rng) as embedding:
            await asyncio.sleep(3)
            beside_file = await open_loop(server.port, short, RATE, seconds)
            assert embedding.poll() is None, "the file was done before"
    one, other, of_file = alone.figures(), beside.figures(), beside_file.figures()
    return {
        "alone": one,
        "beside": other,
        "beside_file": of_file,
        "long_requests_answered": answered.value,
        "p50_ratio": round(other["p50_ms"] / one["p50_ms"], 2),
        "p99_ratio": round(other["p99_ms"] / one["p99_ms"], 2),
        "p99_ratio_file": round(of_file["p99_ms"] / one["p99_ms"], 2),
    }


@contextmanager
def _embedding(port: int, rng: random.Random) -> Iterator[subprocess.Popen[bytes]]:
    """`esm2 embed --url` of a file that takes longer than anybody measures."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "proteins.fasta"
        lengths = (
            min(1022, max(40, int(rng.lognormvariate(math.log(300), 0.6)))) for _ in range(_FILE)
        )
        source.write_text("".join(f">{i}\n{protein(rng, n)}\n" for i, n in enumerate(lengths)))
        url = f"http://127.0.0.1:{port}"
        own = subprocess.Popen(
            [ESM2, "embed", source, "-o", source.with_suffix(".npz"), "--url", url, "--quiet"],
            env=os.environ | {"ESM2_TOKEN": "of-a"},
        )
        try:
            yield own
        finally:
            own.kill()
            own.wait()


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
