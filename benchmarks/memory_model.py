"""The memory model of `esm2 doctor` against what the engine really takes.

Protocol. Random checkpoints of official shapes. Each row is a process of its own: the model is
loaded and warmed up with a short sequence, the kernel's high-water mark is reset, one protein is
computed, and the peak of resident memory above the state before it is set beside the prediction of
`budget.MemoryModel`. A ratio above 1 would mean that the model promises too much.

    python benchmarks/memory_model.py

Writes benchmarks/results/memory_model.json.
"""

from __future__ import annotations

import itertools
import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "memory_model.json"
MODELS = ("esm2-8m", "esm2-150m")
KERNELS = ("auto", "torch-sdpa")
CASES = (
    ("mean", 2040),
    ("per_token", 2040),
    ("logits", 2040),
    ("contacts", 510),
    ("contacts", 2040),
    ("attentions", 2040),
)


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def measure(directory: str, kernel: str, kind: str, residues: int) -> dict[str, object]:
    from esm2.alphabet import tokenize
    from esm2.budget import MemoryModel
    from esm2.engine.engine import Engine
    from esm2.types import ForwardRequest, Want

    engine = Engine.load(Path(directory), "random", device="cpu", kernel=kernel)
    shape = engine.decided.shape
    want = Want(layers=(shape.layers,), **{kind: True})
    engine.run([ForwardRequest(tokenize("MKT"), want)])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again here
    engine.run([ForwardRequest(tokenize("MKTAYIAKQR" * (residues // 10)), want)])
    measured = resident("VmHWM") - before
    predicted = MemoryModel(shape, engine.decided.threads).peak(want, residues)
    return {
        "kernel": engine.decided.kernel,
        "output": kind,
        "residues": residues,
        "measured_bytes": measured,
        "predicted_bytes": predicted,
        "ratio": round(measured / predicted, 2),
    }


def main() -> None:
    if len(sys.argv) == 5:
        print(json.dumps(measure(*sys.argv[1:4], int(sys.argv[4]))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for model in MODELS:
            maker = [sys.executable, "-m", "tools.random_checkpoint", model]
            subprocess.run([*maker, f"{directory}/{model}"], check=True, cwd=ROOT)
            for kernel, (kind, residues) in itertools.product(KERNELS, CASES):
                one = [
                    sys.executable,
                    __file__,
                    f"{directory}/{model}",
                    kernel,
                    kind,
                    str(residues),
                ]
                done = subprocess.run(one, check=True, stdout=subprocess.PIPE, text=True)
                rows.append({"model": model, **json.loads(done.stdout)})
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python benchmarks/memory_model.py",
        "machine": {"system": platform.platform(), "processor": platform.machine()},
        "versions": {name: version(name) for name in ("esm2", "torch", "numpy")},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
