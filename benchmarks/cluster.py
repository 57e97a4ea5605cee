"""One engine and two on a Ray cluster of this machine: does a second place double the work?

    python -m benchmarks.cluster [--model SLUG[=PATH]] [--sequences 400]

A cluster of one node and one of two, a CPU each, in turn, embed the same proteins (mean, last
layer) through the batcher, as `esm2 embed --ray` does. benchmarks/results/cluster.json has residues
per second of either, medians of nine runs, and their ratio, which is at most 2 on two idle cores.
The numbers of both are compared to the bit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import UTC, datetime

import numpy as np

from benchmarks.speed import machine
from esm2.alphabet import tokenize
from esm2.catalog import DEMO_SLUG
from esm2.runtime import Served, open_on_ray
from esm2.types import ForwardRequest, Outputs, Want

RESULT = machine.ROOT / "benchmarks/results/cluster.json"

_TURNS = 3
_ROUNDS = 3
_LONGEST = 500


def main() -> None:
    from ray.cluster_utils import Cluster

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEMO_SLUG)
    parser.add_argument("--sequences", type=int, default=400)
    arguments = parser.parse_args()
    source = np.random.default_rng(7)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    lengths = source.integers(50, _LONGEST, arguments.sequences)
    proteins = ["".join(source.choice(letters, length)) for length in lengths]
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    seconds: dict[int, list[float]] = {1: [], 2: []}
    outputs = {}
    for _ in range(_TURNS):
        for places in seconds:
            second = nodes.add_node(num_cpus=1) if places == 2 else None
            with open_on_ray(nodes.address, arguments.model, device="cpu") as served:
                assert served.executors == places
                outputs[places] = run(served, proteins)[1]
                seconds[places] += [run(served, proteins)[0] for _ in range(_ROUNDS)]
            if second is not None:
                nodes.remove_node(second)
    speeds = [int(lengths.sum()) / statistics.median(own) for own in seconds.values()]
    nodes.shutdown()
    same = all(
        np.array_equal(array, dict(other.named())[name])
        for one, other in zip(*outputs.values(), strict=True)
        for name, array in one.named()
    )
    result = {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": machine.identity(),
        "model": arguments.model,
        "sequences": arguments.sequences,
        "residues_per_second": [round(speed) for speed in speeds],
        "ratio": round(speeds[1] / speeds[0], 2),
        "same_bits": same,
    }
    print(json.dumps(result))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def run(served: Served, proteins: list[str]) -> tuple[float, list[Outputs]]:
    """(seconds, outputs) of all of them."""
    want = Want((served.decided.shape.layers,), mean=True)
    begun = time.perf_counter()
    futures = [served.submit(ForwardRequest(tokenize(protein), want)) for protein in proteins]
    outputs = [future.result() for future in futures]
    return time.perf_counter() - begun, outputs


def tables() -> str:
    """The figures as docs/cluster.md has them."""
    if not RESULT.exists():
        return ""
    own = json.loads(RESULT.read_text())
    one, two = own["residues_per_second"]
    bits = "the same bits" if own["same_bits"] else "other bits"
    return (
        f"{own['machine']['cpu']}, {own['machine']['cores']} cores, {own['when']}, `python -m"
        f" benchmarks.cluster`: {own['sequences']} proteins with {own['model']} on a cluster of one"
        f" node with one CPU {one:,} residues/s, of two {two:,}: {own['ratio']} times as many, and"
        f" {bits}. Both nodes are this machine, whose two CPUs the driver and Ray use as well.\n"
    )


if __name__ == "__main__":
    main()
