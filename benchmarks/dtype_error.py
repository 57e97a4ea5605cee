"""What a dtype costs in exactness: each against float32, on the same proteins.

Protocol. A checkpoint is loaded in float32 and in the dtype. For every protein: hidden states of
the last layer, their mean, and logits. For one protein of 120 residues: a scan, that is the
log-probabilities of all 20 amino acids at each position when it is masked, minus the wild type's.
esm2-demo learned something, so its top-1 and its scan mean something; random checkpoints of
official shapes show how rounding grows with depth and width. Official weights have outliers that
random ones do not: there, `esm2 verify --dtype bfloat16 SLUG` prints every difference.

    python benchmarks/dtype_error.py [--proteins FASTA] [--models esm2-demo esm2-8m ...]

Writes benchmarks/results/dtype_error.json and the table of docs/numerics.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import esm2
from esm2.alphabet import AMINO_ACIDS
from esm2.files import fasta

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "dtype_error.json"
NUMERICS = ROOT / "docs" / "numerics.md"
BEGIN, END = "<!-- benchmarks/dtype_error.py -->\n", "<!-- end -->"

SCANNED = 120  # residues

Numbers = NDArray[np.float64]


def proteins(file: Path | None) -> list[str]:
    """20 proteins of at most 500 residues: of a file, or random ones."""
    if file is None:
        letters = random.Random(0)
        return ["".join(letters.choices(AMINO_ACIDS, k=length)) for length in range(60, 460, 20)]
    natural = (record.sequence for record in fasta.read(file))
    fitting = (s for s in natural if SCANNED <= len(s) <= 500 and set(s) <= set(AMINO_ACIDS))
    return list(islice(fitting, 20))


def outputs(model: esm2.Model, sequences: list[str]) -> dict[str, list[Numbers]]:
    encoded = model.encode(sequences, include=["per_token", "mean", "logits"])
    scanned = sequences[0][:SCANNED]
    masked = [f"{scanned[:i]}<mask>{scanned[i + 1 :]}" for i in range(len(scanned))]
    rows = np.stack([x[i] for i, x in enumerate(model.predict(masked))]).astype(np.float64)
    wild = rows[np.arange(len(scanned)), [AMINO_ACIDS.index(letter) for letter in scanned]]
    return {
        "residue": [next(iter(o.per_token.values())).astype(np.float64) for o in encoded],
        "mean": [next(iter(o.mean.values())).astype(np.float64)[None] for o in encoded],
        "logits": [o.logits.astype(np.float64) for o in encoded if o.logits is not None],
        "scan": [rows - wild[:, None]],
    }


def cosine(one: list[Numbers], other: list[Numbers]) -> float:
    """The worst over rows."""
    a, b = np.concatenate(one), np.concatenate(other)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / norms).min())


def spearman(one: Numbers, other: Numbers) -> float:
    ranks = [x.ravel().argsort().argsort() for x in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def compared(exact: dict[str, list[Numbers]], other: dict[str, list[Numbers]]) -> dict[str, float]:
    hidden, rounded = np.concatenate(exact["residue"]), np.concatenate(other["residue"])
    logits, rough = np.concatenate(exact["logits"]), np.concatenate(other["logits"])
    return {
        "largest_difference": float(np.abs(hidden - rounded).max()),
        "largest_number": float(np.abs(hidden).max()),
        "relative_l2": float(np.linalg.norm(hidden - rounded) / np.linalg.norm(hidden)),
        "residue_cosine": cosine(exact["residue"], other["residue"]),
        "mean_cosine": cosine(exact["mean"], other["mean"]),
        "logits_largest_difference": float(np.abs(logits - rough).max()),
        "top1_agreement": float((logits.argmax(1) == rough.argmax(1)).mean()),
        "scan_spearman": spearman(exact["scan"][0], other["scan"][0]),
    }


def measure(model: str, dtype: str, sequences: list[str]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as temporary:
        source: str | Path = model
        if model != "esm2-demo":
            source = Path(temporary) / f"{model}-random"
            maker = [sys.executable, "-m", "tools.random_checkpoint", model, str(source)]
            subprocess.run(maker, check=True, cwd=ROOT)
        found = {}
        for name in ("float32", dtype):
            with esm2.load(source, dtype=name) as loaded:
                found[name] = outputs(loaded, sequences)
                kernel = loaded.decided.kernel
    label = model if model == "esm2-demo" else f"random {model.removeprefix('esm2-').upper()}"
    row = {"model": label, "dtype": dtype, "kernel": kernel}
    return row | compared(found["float32"], found[dtype])


def table(rows: list[dict[str, object]]) -> str:
    lines = [
        "| checkpoint | dtype | largest difference (of largest number) | relative L2"
        " | worst cosine, residue / mean | logits, largest difference | top-1 agrees"
        " | scan, Spearman |",
        "|---|---|---|---|---|---|---|---|",
    ]
    form = (
        "| {model} | {dtype} | {largest_difference:.2g} ({largest_number:.2g})"
        " | {relative_l2:.1e} | {residue_cosine:.5f} / {mean_cosine:.6f}"
        " | {logits_largest_difference:.2g} | {top1_agreement:.1%} | {scan_spearman:.4f} |"
    )
    return "\n".join([*lines, *(form.format(**row) for row in rows)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proteins", type=Path, help="FASTA; random ones otherwise")
    parser.add_argument("--models", nargs="+", default=["esm2-demo", "esm2-8m", "esm2-35m"])
    arguments = parser.parse_args()
    sequences = proteins(arguments.proteins)
    rows = []
    for model in arguments.models:
        for dtype in ("bfloat16", "int8"):
            rows.append(measure(model, dtype, sequences))
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": " ".join(["python", "benchmarks/dtype_error.py", *sys.argv[1:]]),
        "machine": platform.platform(),
        "versions": {name: version(name) for name in ("esm2", "torch", "numpy")},
        "proteins": len(sequences),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    before, _, rest = NUMERICS.read_text().partition(BEGIN)
    NUMERICS.write_text(before + BEGIN + table(rows) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
