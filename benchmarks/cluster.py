"""One engine and two on a Ray cluster of this machine: does a second place double the work?

    python -m benchmarks.cluster [--model SLUG[=PATH]] [--sequences 400]

A cluster of one node and then one of two, a CPU each, embed the same proteins (mean, last layer)
through the batcher. One JSON object: residues per second of either, medians of three, and their
ratio, which is at most 2 on two idle cores. The numbers of both are compared to the bit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
from ray.cluster_utils import Cluster

from esm2.alphabet import tokenize
from esm2.catalog import DEMO_SLUG
from esm2.runtime import Served, open_on_ray
from esm2.types import ForwardRequest, Outputs, Want

_ROUNDS = 3
_LONGEST = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
    speeds, outputs = [], []
    for places in (1, 2):
        if places == 2:
            nodes.add_node(num_cpus=1)
        with open_on_ray(nodes.address, arguments.model, device="cpu") as served:
            assert served.executors == places
            run(served, proteins)
            timed = [run(served, proteins) for _ in range(_ROUNDS)]
        speeds.append(int(lengths.sum()) / statistics.median(seconds for seconds, _ in timed))
        outputs.append(timed[0][1])
    nodes.shutdown()
    same = all(
        np.array_equal(array, dict(other.named())[name])
        for one, other in zip(*outputs, strict=True)
        for name, array in one.named()
    )
    result = {
        "residues_per_second": [round(speed) for speed in speeds],
        "ratio": round(speeds[1] / speeds[0], 2),
        "same_bits": same,
    }
    print(json.dumps(result))


def run(served: Served, proteins: list[str]) -> tuple[float, list[Outputs]]:
    """(seconds, outputs) of all of them."""
    want = Want((served.decided.shape.layers,), mean=True)
    begun = time.perf_counter()
    futures = [served.submit(ForwardRequest(tokenize(protein), want)) for protein in proteins]
    outputs = [future.result() for future in futures]
    return time.perf_counter() - begun, outputs


if __name__ == "__main__":
    main()
