"""Contacts of one long protein: peak memory and time, against fair-esm.

Protocol. A random checkpoint of the model's official shape is written once. Each measurement is a
process of its own, which loads the checkpoint, computes the contacts of one protein of L residues
once (nothing to warm up: memory is the point), and reports its peak resident memory as the kernel
counted it (VmHWM: weights that are mapped from the file count too). fair-esm runs in the same run,
in turn, at every length at which its own attention stack (layers x heads x (L + 2)^2 float32, held
about three times) can fit into this machine; where it cannot, the line says so.

    python benchmarks/contacts_memory.py [--model esm2-650m] [--lengths 512 2048]

Writes benchmarks/results/contacts_memory.json.
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

from esm2.catalog import Checkpoint, canonical, find

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "contacts_memory.json"


def protein(length: int) -> str:
    return "".join(random.Random(0).choices("LAGVSERTIDPKQNFYMHWC", k=length))


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def run_esm2(_: str, length: int, directory: Path) -> dict[str, float]:
    import esm2

    with esm2.load(directory) as model:
        started = time.perf_counter()
        contacts = model.encode([protein(length)], include=["contacts"])[0].contacts
        seconds = time.perf_counter() - started
    assert contacts is not None
    assert contacts.shape == (length, length)
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


def run_fair_esm(slug: str, length: int, _: Path) -> dict[str, float]:
    import esm
    import torch

    shape = find(slug).shape
    model = esm.model.esm2.ESM2(shape.layers, shape.dim, shape.heads).eval()
    tokens = torch.tensor([model.alphabet.encode(f"<cls>{protein(length)}<eos>")])
    started = time.perf_counter()
    with torch.inference_mode():
        contacts = model(tokens, return_contacts=True)["contacts"][0]
    seconds = time.perf_counter() - started
    assert contacts.shape == (length, length)
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


ENGINES = {"esm2": run_esm2, "fair-esm": run_fair_esm}


def fair_esm_stack(checkpoint: Checkpoint, length: int) -> int:
    """Bytes of fair-esm's attention stack: every map of every layer and head, kept."""
    return checkpoint.shape.layers * checkpoint.shape.heads * (length + 2) ** 2 * 4


def available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024


def measure(engine: str, slug: str, length: int, directory: Path) -> dict[str, object]:
    row: dict[str, object] = {"engine": engine, "model": slug, "length": length}
    stack = fair_esm_stack(find(slug), length)
    if engine == "fair-esm" and 4 * stack > available():
        return row | {"did_not_run": f"its attention stack alone is {stack / 1e9:.1f} GB"}
    command = [sys.executable, __file__, "--one", engine, slug, str(length), str(directory)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return row | json.loads(answer.splitlines()[-1])


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="esm2-650m", type=canonical)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        engine, slug, length, directory = arguments.one
        print(json.dumps(ENGINES[engine](slug, int(length), Path(directory))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / f"{arguments.model}-random"
        maker = [sys.executable, "-m", "tools.random_checkpoint", arguments.model]
        subprocess.run([*maker, directory], check=True, cwd=ROOT)
        rows = []
        for length in arguments.lengths:
            for engine in ENGINES:
                rows.append(measure(engine, arguments.model, length, directory))
                print(json.dumps(rows[-1]), flush=True)
        weights = (directory / "model.safetensors").stat().st_size
    result = {
        "command": f"python benchmarks/contacts_memory.py --model {arguments.model} --lengths "
        + " ".join(map(str, arguments.lengths)),
        "machine": {"cpu": cpu(), "system": platform.platform()},
        "versions": {name: version(name) for name in ("esm2", "torch", "fair-esm", "numpy")},
        "weights_bytes": weights,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
