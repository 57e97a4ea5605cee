"""The CPU's kernels side by side: speed, loading, and memory after many packs of many lengths.

Protocol. Random checkpoints of official shapes, float32. Speed: the kernels in turn, three rounds,
20 proteins of log-normal length (median 300, 40 to 1022, seed 0), mean embeddings, packs of 4096
tokens; the fastest round of each. Loading: a process for each, the file in the page cache. Memory:
a process for each, `--packs` packs of 1 to 8 proteins of random length, resident memory after a
tenth of them and at the end.

    python -m benchmarks.kernels [--packs 600]

Writes benchmarks/results/kernels.json, of which `make docs` makes a table in docs/numerics.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.speed.machine import ROOT, identity
from esm2.catalog import find

RESULT = Path(__file__).parent / "results" / "kernels.json"
SPEED = ("esm2-8m", "esm2-150m")
LOADING = ("esm2-150m", "esm2-650m")
ROUNDS = 3


def engine(directory: str, kernel: str):
    from esm2.engine.engine import Engine

    return Engine.load(Path(directory), "random", device="cpu", kernel=kernel)


def request(length: int, layers: int):
    from esm2.alphabet import tokenize
    from esm2.types import ForwardRequest, Want

    letters = random.Random(length).choices("LAGVSERTIDPKQNFYMHWC", k=length)
    return ForwardRequest(tokenize("".join(letters)), Want((layers,), mean=True))


def speed(directory: str, kernels: list[str]) -> dict[str, float]:
    """Kernel -> residues a second."""
    engines = {kernel: engine(directory, kernel) for kernel in kernels}
    layers = next(iter(engines.values())).decided.shape.layers
    lengths = np.random.default_rng(0).lognormal(np.log(300), 0.5, 20).clip(40, 1022).astype(int)
    asked = sorted((request(int(n), layers) for n in lengths), key=lambda own: len(own.tokens))
    best = dict.fromkeys(kernels, 0.0)
    for _ in range(ROUNDS):
        for kernel, own in engines.items():
            began = time.perf_counter()
            for pack in _packs(asked):
                own.run(pack)
            best[kernel] = max(best[kernel], lengths.sum() / (time.perf_counter() - began))
    return {kernel: round(rate) for kernel, rate in best.items()}


def _packs(asked):
    pack, tokens = [], 0
    for own in asked:
        if tokens + len(own.tokens) > 4096:
            yield pack
            pack, tokens = [], 0
        pack.append(own)
        tokens += len(own.tokens)
    yield pack


def load_seconds(directory: str, kernel: str) -> float:
    began = time.perf_counter()
    engine(directory, kernel)
    return round(time.perf_counter() - began, 2)


def memory(directory: str, kernel: str, packs: int) -> list[int]:
    """Resident MB after a tenth of the packs, and after all."""
    own = engine(directory, kernel)
    source = random.Random(0)
    seen = []
    for number in range(1, packs + 1):
        lengths = [source.randint(1, 300) for _ in range(source.randint(1, 8))]
        own.run([request(length, own.decided.shape.layers) for length in lengths])
        if number in (packs // 10, packs):
            status = Path("/proc/self/status").read_text().splitlines()
            line = next(line for line in status if line.startswith("VmRSS"))
            seen.append(int(line.split()[1]) // 1024)
    return seen


def apart(function: str, *arguments: str) -> object:
    """The result of a function here, called in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernels", "--apart", function, *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    import torch

    from esm2.engine.engine import kernels_for

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packs", type=int, default=600)
    parser.add_argument("--apart", nargs="+")
    options = parser.parse_args()
    if options.apart:
        name, directory, kernel, *rest = options.apart
        found = globals()[name](directory, kernel, *map(int, rest))
        print(json.dumps(found))
        return
    result = {"cpu": identity()["cpu"], "threads": torch.get_num_threads()}
    result |= {"torch": version("torch"), "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as root:
        for slug in sorted({*SPEED, *LOADING}):
            maker = [sys.executable, "-m", "tools.random_checkpoint", slug, f"{root}/{slug}"]
            subprocess.run(maker, check=True, cwd=ROOT)
        shape = find("esm2-8m").shape
        found = kernels_for(shape, torch.device("cpu"), "float32")
        kernels = [own if isinstance(own, str) else own.name for own in found]
        result["residues_per_second"] = {
            slug: speed(str(Path(root) / slug), kernels) for slug in SPEED
        }
        result["load_seconds"] = {
            slug: {own: apart("load_seconds", f"{root}/{slug}", own) for own in kernels}
            for slug in LOADING
        }
        result["resident_mb"] = {
            own: apart("memory", f"{root}/esm2-8m", own, str(options.packs)) for own in kernels
        }
        result["packs"] = options.packs
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def tables() -> str:
    """For docs/numerics.md."""
    result = json.loads(RESULT.read_text())
    rows = []
    for kernel, (early, late) in result["resident_mb"].items():
        rates = (f"{result['residues_per_second'][slug][kernel]:,}" for slug in SPEED)
        seconds = (f"{result['load_seconds'][slug][kernel]:.1f} s" for slug in LOADING)
        rows.append(f"| {kernel} | {' | '.join([*rates, *seconds])} | {early} to {late} MB |\n")
    return (
        f"{result['cpu']}, {result['threads']} threads, torch {result['torch']}:\n\n"
        "| kernel | 8M, residues/s | 150M, residues/s | loads 150M | loads 650M |"
        f" memory from pack {result['packs'] // 10:,} to {result['packs']:,}, 8M |\n"
        f"|---|---|---|---|---|---|\n{''.join(rows)}"
    )


if __name__ == "__main__":
    main()
