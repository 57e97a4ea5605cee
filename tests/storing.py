"""What tests of output files share: a run, records with random outputs, and a file made of them.

made = rows(run(".h5"), ["a", "b"])     records, their outputs and their numbers
write(path, run(".h5"), made)           through the journal, as `esm2 embed` does it
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from esm2 import files
from esm2.pooling import Pooled
from esm2.types import Float, Outputs, Record

DIM = 4
META = {"esm2": "1.2.3", "model": "esm2-demo", "source": "β.fasta", "layers": [6]}
SEVERAL = {"include": ("mean", "per_token", "bos"), "layers": (0, 2, 6)}

_RUN = files.Run(
    model="esm2-demo",
    weights_sha256="0123456789abcdef" * 4,
    weights_kind="demo",
    device="cpu",
    dtype="float32",
    include=("mean",),
    layers=(6,),
    dim=DIM,
    long="error",
    max_residues=2048,
    format=".npz",
    keys="id",
)


def run(format: str = ".npz", **changes: Any) -> files.Run:
    """A run; by default the mean of layer 6."""
    return replace(_RUN, format=format, **changes)


@dataclass(frozen=True)
class Row:
    """A record and what became of it: outputs, or the reason why there are none."""

    record: Record
    outputs: Outputs
    used: int
    windows: int = 1
    reason: str = ""
    region: str = ""


def protein(length: int, seed: int = 0) -> str:
    """A random protein."""
    return "".join(random.Random(f"{length} {seed}").choices("LAGVSERTIDPKQNFYMHWC", k=length))


def row(of: files.Run, name: str, residues: int = 3, line: int = 1, **changes: Any) -> Row:
    """A record of a name with random numbers, those of the same name and line always the same."""
    noise = np.random.default_rng([residues, line, *name.encode()])

    def numbers(*shape: int) -> dict[int, Float]:
        return {layer: noise.standard_normal(shape, np.float32) for layer in of.layers}

    used = changes.get("used", residues)
    shapes = {"per_token": (used, DIM)}
    outputs = Pooled(**{kind: numbers(*shapes.get(kind, (DIM,))) for kind in of.include})
    record = Record(name, f"{name} of a test", protein(residues, line), line)
    return replace(Row(record, outputs, residues), **changes)


def rows(of: files.Run, names: Sequence[str]) -> list[Row]:
    """Records of these names, of 1, 2, 3, 4, 1, ... residues, on lines 1, 3, 5, ..."""
    return [row(of, name, 1 + i % 4, 2 * i + 1) for i, name in enumerate(names)]


def keep(journal: files.Journal, made: Iterable[Row]) -> None:
    """Enter them into a journal."""
    for own in made:
        length = len(own.record.sequence)
        if own.reason:
            journal.reject(own.record, own.reason, length=length)
        else:
            numbers = {"used": own.used, "windows": own.windows, "region": own.region}
            journal.add(own.record, own.outputs, length=length, **numbers)


def write(
    path: Path, of: files.Run, made: Iterable[Row], meta: Mapping[str, object] = META
) -> list[str]:
    """Make the file, over one that is there; what has to be said about it."""
    with files.Journal(path, of) as journal:
        keep(journal, made)
        return files.commit(path, journal, meta, force=True)


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return sorted(entry.name for entry in directory.iterdir())
