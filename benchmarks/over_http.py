"""What HTTP costs: throughput, latency, forms of a reply, patience, cold start.

Protocol. Random checkpoints of official shapes in an `esm2 serve` of its own, on this machine; the
caller is a process of Python's http.client with one thread a connection. Medians of `ROUNDS`, after
one that does not count; what is compared is measured in turn.

    throughput   200 proteins of UniProt-like lengths, mean embeddings, esm2-8m: `esm2.load` in a
                 process of its own, and 8 connections that send one protein, or 8, in a request
    latency      one protein of 40 residues, 200 times, nobody else there: p50
    forms        238 x 1280 numbers (layer 1 of esm2-650m, a few milliseconds of arithmetic), to the
                 last byte
    patience     the slowest of many /health/live while a reply of 100 MB JSON is read
    cold start   `esm2 --help`; `esm2 serve` with esm2-demo until it listens

    python -m benchmarks.over_http

Writes benchmarks/results/http.json.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.speed import machine
from benchmarks.speed.workloads import find

RESULT = machine.ROOT / "benchmarks" / "results" / "http.json"
ROUNDS = 5
CONNECTIONS = 8
ESM2 = Path(sys.executable).with_name("esm2")

#: Accept and Accept-Encoding -> what the table calls it.
FORMS = {
    "JSON": ("application/json", "identity"),
    "JSON, gzip": ("application/json", "gzip"),
    "JSON, zstd": ("application/json", "zstd"),
    "npz": ("application/x-npz", "identity"),
    "safetensors": ("application/vnd.safetensors", "identity"),
    "npz, float16": ("application/x-npz;dtype=float16", "identity"),
    "safetensors, float16": ("application/vnd.safetensors;dtype=float16", "identity"),
}

Bodies = Sequence[bytes]


def body(*proteins: str, include: str = "mean", layers: Sequence[int] = (-1,)) -> bytes:
    items = [{"sequence": protein} for protein in proteins]
    params = {"include": [include], "repr_layers": list(layers)}
    return json.dumps({"items": items, "params": params}).encode()


class Caller:
    """Connections to one server that stay open."""

    def __init__(self, port: int, slug: str) -> None:
        self._port = port
        self._path = f"/api/v3/{slug}/encode/"
        self._own = threading.local()

    def ask(self, content: bytes, headers: dict[str, str] | None = None) -> int:
        """Bytes of the reply, read to its end."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", self._port)
        self._own.connection.request("POST", self._path, content, headers or {})
        response = self._own.connection.getresponse()
        reply = response.read()
        assert response.status == 200, reply[:300]
        return len(reply)


@contextlib.contextmanager
def serving(*models: str) -> Iterator[int]:
    """A server; its port."""
    flags = [f"--model={model}" for model in models]
    command = [ESM2, "serve", "--port", "0", *flags]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"listening on http://[^:]+:(\d+)", process.stderr.readline())
            assert found, "the server did not start"
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield int(found[1])
        finally:
            process.terminate()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(works: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Each work's own seconds, by round, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(ROUNDS + 1):
        for name, work in works.items():
            found = work()
            if round_:
                taken[name].append(round(found, 6))
    return taken


_ENGINE = """
import sys, time, statistics, esm2
from benchmarks.speed.workloads import find
model = esm2.load(sys.argv[1])
for line in sys.stdin:
    workload = find(line.strip())
    calls = 200 if workload.name == "short" else 1
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        model.embed(workload.proteins)
        taken.append(time.perf_counter() - started)
    print(statistics.median(taken), flush=True)
"""


class Engine:
    """The engine alone, in a process of its own."""

    def __init__(self, checkpoint: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ENGINE, checkpoint],
            cwd=machine.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, workload: str) -> float:
        assert self._process.stdin
        assert self._process.stdout
        print(workload, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def throughput_and_latency(checkpoint: Path) -> dict[str, Any]:
    proteins = find("mix").proteins
    [short] = find("short").proteins
    engine = Engine(checkpoint)
    with serving(f"bench={checkpoint}") as port, ThreadPoolExecutor(CONNECTIONS) as callers:
        caller = Caller(port, "bench")

        def by_http(items: int) -> float:
            starts = range(0, len(proteins), items)
            bodies = [body(*proteins[start : start + items]) for start in starts]
            return seconds(lambda: list(callers.map(caller.ask, bodies)))

        def alone() -> float:
            return statistics.median(seconds(lambda: caller.ask(body(short))) for _ in range(200))

        taken = in_turn(
            {
                "engine": lambda: engine.ask("mix"),
                "http, 1 protein a request": lambda: by_http(1),
                "http, 8 proteins a request": lambda: by_http(8),
            }
        )
        lone = in_turn({"engine": lambda: engine.ask("short"), "http": alone})
        engine.close()
    return {"throughput_seconds": taken, "lone_request_seconds": lone}


def forms(checkpoint: Path) -> dict[str, Any]:
    protein = (find("uniform-256").proteins[0])[:238]
    content = body(protein, include="per_token", layers=[1])
    with serving(f"bench={checkpoint}") as port:
        caller = Caller(port, "bench")
        sizes: dict[str, int] = {}

        def timed(form: str) -> Callable[[], float]:
            accept, coding = FORMS[form]
            headers = {"Accept": accept, "Accept-Encoding": coding}

            def one() -> float:
                started = time.perf_counter()
                sizes[form] = caller.ask(content, headers)
                return time.perf_counter() - started

            return lambda: statistics.median(one() for _ in range(10))

        taken = in_turn({form: timed(form) for form in FORMS})
        large = body(*[protein * 4] * 4, include="per_token", layers=[0])
        patience = patient(port, large)
    replies = {form: {"bytes": sizes[form], "seconds": taken[form]} for form in FORMS}
    return {"forms": replies, "patience": patience}


def patient(port: int, large: bytes) -> dict[str, Any]:
    """Health checks while a large reply is read."""
    done, size = threading.Event(), 0

    def read() -> None:
        nonlocal size
        size = Caller(port, "bench").ask(large)
        done.set()

    connection = http.client.HTTPConnection("127.0.0.1", port)
    waited = []
    reader = threading.Thread(target=read)
    reader.start()
    while not done.is_set():
        started = time.perf_counter()
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
        waited.append(time.perf_counter() - started)
    reader.join()
    return {
        "reply_bytes": size,
        "health_checks": len(waited),
        "slowest_seconds": round(max(waited), 6),
        "median_seconds": round(statistics.median(waited), 6),
    }


def cold_start() -> dict[str, list[float]]:
    def listening() -> float:
        started = time.perf_counter()
        with serving():
            return time.perf_counter() - started

    def helped() -> float:
        command = [ESM2, "--help"]
        return seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))

    return in_turn({"esm2 --help": helped, "esm2 serve": listening})


def tables() -> str:
    """Markdown for docs/performance.md."""
    result = json.loads(RESULT.read_text())
    medians = {
        name: statistics.median(taken)
        for part in ("throughput_seconds", "lone_request_seconds", "cold_start_seconds")
        for name, taken in ((f"{part} {name}", taken) for name, taken in result[part].items())
    }
    engine = medians["throughput_seconds engine"]
    alone = medians["lone_request_seconds engine"]
    by_http = medians["lone_request_seconds http"]
    patience = result["patience"]
    lines = ["| 200 proteins, 8M, mean | seconds | of the engine alone |", "|---|---:|---:|"]
    for name in result["throughput_seconds"]:
        taken = medians[f"throughput_seconds {name}"]
        lines.append(f"| {name} | {taken:.2f} | {engine / taken:.0%} |")
    lines += [
        "",
        "| a reply of 238 x 1280 numbers | bytes | milliseconds, arithmetic included |",
        "|---|---:|---:|",
    ]
    for form, own in result["forms"].items():
        lines.append(
            f"| {form} | {own['bytes']:,} | {1e3 * statistics.median(own['seconds']):.1f} |"
        )
    lines += [
        "",
        f"One protein of 40 residues alone: {1e3 * by_http:.2f} ms over HTTP,"
        f" {1e3 * alone:.2f} ms in the engine. While a reply of"
        f" {patience['reply_bytes'] / 1e6:.0f} MB was read, the slowest of"
        f" {patience['health_checks']} health checks took"
        f" {1e3 * patience['slowest_seconds']:.0f} ms."
        f" `esm2 --help`: {medians['cold_start_seconds esm2 --help']:.2f} s;"
        f" `esm2 serve` listens after {medians['cold_start_seconds esm2 serve']:.1f} s.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as directory:
        checkpoints = {}
        for slug in ("esm2-8m", "esm2-650m"):
            checkpoints[slug] = Path(directory) / slug
            maker = [sys.executable, "-m", "tools.random_checkpoint", slug, checkpoints[slug]]
            subprocess.run(maker, check=True, cwd=machine.ROOT)
        result = {
            "command": "python -m benchmarks.over_http",
            "machine": machine.identity(),
            **machine.software("default"),
            **throughput_and_latency(checkpoints["esm2-8m"]),
            **forms(checkpoints["esm2-650m"]),
            "cold_start_seconds": cold_start(),
        }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
