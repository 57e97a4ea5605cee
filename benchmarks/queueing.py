"""How long requests wait at 1, 8 and 64 devices: a simulation that measured figures feed.

Protocol. Requests of one protein each, of the lengths of `mix` (log-normal, median 300 residues,
40..1022), come at random (Poisson). One takes `lone + operations / rate` seconds of a device: both
constants are those of the two measurements of `MODEL`, `mix` and `short`, in
benchmarks/results/speed-*.json, and operations are those of the cost model (`esm2.budget.work`).
A device computes one request at a time and never rests while something waits for it. Load is the
share of time that devices compute. Three ways to share them:

    one queue     whichever device is free takes what is next: one server with several devices
    fewest first  a queue for each, and a proxy that knows how many requests each has
    in turn       a queue for each, and a proxy that deals them out: what most do by default

`REQUESTS` for each cell, of which the first tenth does not count; the same arrivals and proteins
for the three ways. What is left out: passes that several requests share (a GPU gets more done in
the same time when much waits), callers' turns, and everything that fails.

    python -m benchmarks.queueing [speed-MACHINE.json]       of several machines, the first

Writes benchmarks/results/queueing.json.
"""

from __future__ import annotations

import json
import math
import sys
from heapq import heappop, heappush, heapreplace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed import results
from benchmarks.speed.workloads import find
from esm2 import budget
from esm2.catalog import Shape
from esm2.catalog import find as checkpoint
from esm2.types import ForwardRequest, Want

RESULT = results.DIRECTORY / "queueing.json"
MODEL, ENGINE = "650M", "esm2-bfloat16"
DEVICES = (1, 8, 64)
LOADS = (0.5, 0.8, 0.9, 0.95)
REQUESTS = 1_000_000
SEED = 0

Numbers = NDArray[np.float64]


def one_queue(arrivals: Numbers, seconds: Numbers, devices: int) -> Numbers:
    """What each request waits, (n,), when whichever device is free takes what is next.

    Args:
        arrivals: when each comes, ascending, (n,).
        seconds: what each takes, (n,).
    """
    free = [0.0] * devices
    waits = np.empty_like(arrivals)
    for number, (come, takes) in enumerate(zip(arrivals.tolist(), seconds.tolist(), strict=True)):
        begun = max(come, free[0])
        waits[number] = begun - come
        heapreplace(free, begun + takes)
    return waits


def fewest_first(arrivals: Numbers, seconds: Numbers, devices: int) -> Numbers:
    """As `one_queue`, when each goes to the device that has the fewest requests at that moment."""
    free = [0.0] * devices
    has = [0] * devices
    ends: list[tuple[float, int]] = []
    waits = np.empty_like(arrivals)
    for number, (come, takes) in enumerate(zip(arrivals.tolist(), seconds.tolist(), strict=True)):
        while ends and ends[0][0] <= come:
            has[heappop(ends)[1]] -= 1
        device = has.index(min(has))
        begun = max(come, free[device])
        waits[number] = begun - come
        free[device] = begun + takes
        has[device] += 1
        heappush(ends, (free[device], device))
    return waits


def in_turn(arrivals: Numbers, seconds: Numbers, devices: int) -> Numbers:
    """As `one_queue`, when each goes to the device after the one before."""
    waits = np.empty_like(arrivals)
    for own in range(devices):
        mine = slice(own, None, devices)
        waits[mine] = one_queue(arrivals[mine], seconds[mine], 1)
    return waits


WAYS = {"one queue": one_queue, "fewest first": fewest_first, "in turn": in_turn}


def operations(lengths: NDArray[np.int64], shape: Shape) -> Numbers:
    """What the cost model says of the mean embedding of proteins of these lengths, (n,)."""
    want = Want(layers=(shape.layers,), mean=True)
    known = {
        length: budget.work(ForwardRequest(np.zeros(length + 2, np.uint8), want), shape)
        for length in np.unique(lengths).tolist()
    }
    return np.array([known[length] for length in lengths.tolist()])


def device(measured: dict[str, Any]) -> tuple[float, float]:
    """Seconds that a request takes whatever it is, and operations a second, of one device.

    Args:
        measured: the results of one machine.
    """
    shape = shape_of(MODEL)
    done, taken, count = [], [], []
    for workload in ("mix", "short"):
        row = row_of(measured, MODEL, workload, ENGINE)
        proteins = find(workload, row["proteins"]).proteins
        done.append(operations(np.array([len(own) for own in proteins]), shape).sum())
        taken.append(row["median"])
        count.append(len(proteins))
    lone, slope = np.linalg.solve(np.stack([count, done], 1), taken)
    return float(lone), float(1 / slope)


def shape_of(name: str) -> Shape:
    """The shape of an official model, as results call it."""
    known = checkpoint(f"esm2-{name.lower()}")
    assert known, name
    return known.shape


def row_of(measured: dict[str, Any], shape: str, workload: str, engine: str) -> dict[str, Any]:
    """What was measured of one workload, with the usual allocator; empty where nothing was."""
    key = (shape, workload, "default", engine)
    names = ("shape", "workload", "allocator", "engine")
    found = (row for row in measured["rows"] if tuple(row[name] for name in names) == key)
    return next(found, {})


def cell(
    generator: np.random.Generator, devices: int, load: float, lone: float, rate: float
) -> dict[str, Any]:
    """Waiting at so many devices under so much load, in seconds."""
    lengths = np.clip(generator.lognormal(math.log(300), 0.6, REQUESTS), 40, 1022).astype(int)
    seconds = lone + operations(lengths, shape_of(MODEL)) / rate
    gaps = generator.exponential(seconds.mean() / (devices * load), REQUESTS)
    arrivals = np.cumsum(gaps)
    waits = {}
    for name, way in WAYS.items():
        counted = way(arrivals, seconds, devices)[REQUESTS // 10 :]
        p50, p99 = np.quantile(counted, [0.5, 0.99])
        waits[name] = {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}
    residues = round(devices * load * lengths.mean() / seconds.mean())
    return {"devices": devices, "load": load, "residues_per_second": residues, "waits": waits}


def main() -> None:
    names = sys.argv[1:] or sorted(file.name for file in results.DIRECTORY.glob("speed-*.json"))
    measured = results.read(results.DIRECTORY / names[0])
    lone, rate = device(measured)
    generator = np.random.default_rng(SEED)
    cells = [cell(generator, own, load, lone, rate) for own in DEVICES for load in LOADS]
    result = {
        "command": "python -m benchmarks.queueing",
        "fed_by": names[0],
        "device": f"{measured['machine']['cpu']}, {measured['machine']['cores']} cores",
        "model": MODEL,
        "engine": ENGINE,
        "lone_seconds": round(lone, 6),
        "operations_per_second": round(rate),
        "requests": REQUESTS,
        "seed": SEED,
        "numpy": np.__version__,
        "cells": cells,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
