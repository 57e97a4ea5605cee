"""The simulation of docs/deploy.md: what queueing theory knows, and what was measured."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks import queueing
from benchmarks.speed import results


def markovian(devices: int, load: float, requests: int = 100_000):
    """Arrivals and times of M/M/c, whose waiting is known: times of mean 1."""
    generator = np.random.default_rng(1)
    arrivals = np.cumsum(generator.exponential(1 / (devices * load), requests))
    return arrivals, generator.exponential(1.0, requests)


def erlang_c(devices: int, load: float) -> float:
    """The share of requests that wait at all. Source: A. K. Erlang 1917."""
    offered = devices * load
    below = sum(offered**k / math.factorial(k) for k in range(devices))
    full = offered**devices / math.factorial(devices) / (1 - load)
    return full / (below + full)


@pytest.mark.parametrize(("devices", "load"), [(1, 0.5), (1, 0.8), (8, 0.8), (64, 0.8)])
def test_one_queue_waits_as_erlang_says(devices, load):
    waits = queueing.one_queue(*markovian(devices, load), devices)
    wait_at_all = erlang_c(devices, load)
    assert (waits > 1e-12).mean() == pytest.approx(wait_at_all, abs=0.02)
    mean = wait_at_all / (devices * (1 - load))
    assert waits.mean() == pytest.approx(mean, rel=0.12, abs=0.005)
    p99 = max(0.0, math.log(wait_at_all / 0.01) / (devices * (1 - load)))
    assert np.quantile(waits, 0.99) == pytest.approx(p99, rel=0.15, abs=0.02)


def test_with_one_device_the_three_ways_are_one():
    arrivals, seconds = markovian(1, 0.8, 1000)
    first, *others = (way(arrivals, seconds, 1) for way in queueing.WAYS.values())
    for other in others:
        np.testing.assert_allclose(other, first)


def test_each_way_by_hand():
    """Three at once, of 5, 1 and 1 seconds, then one a little later, at two devices."""
    arrivals, seconds = np.array([0.0, 0.0, 0.0, 0.5]), np.array([5.0, 1.0, 1.0, 1.0])
    got = {name: way(arrivals, seconds, 2).tolist() for name, way in queueing.WAYS.items()}
    assert got == {
        "one queue": [0, 0, 1, 1.5],
        "fewest first": [0, 0, 5, 0.5],
        "in turn": [0, 0, 5, 0.5],
    }


def test_what_feeds_it_is_what_was_measured():
    """The two constants give back the time of each workload that they are made of."""
    kept = json.loads(queueing.RESULT.read_text())
    measured = results.read(results.DIRECTORY / kept["fed_by"])
    lone, rate = queueing.device(measured)
    assert (round(lone, 6), round(rate)) == (kept["lone_seconds"], kept["operations_per_second"])
    assert lone > 0
    [short] = queueing.operations(np.array([40]), queueing.shape_of(kept["model"]))
    row = queueing.row_of(measured, kept["model"], "short", kept["engine"])
    assert lone + short / rate == pytest.approx(row["median"])
