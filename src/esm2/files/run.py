"""What a run of `esm2 embed` is, and what it has made: the values that go between the journal,
which keeps them while they are made, and the formats, which write them down in the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from esm2.pooling import KINDS
from esm2.types import Float

#: Those of which a record has one row.
VECTORS: tuple[str, ...] = tuple(kind for kind in KINDS if kind != "per_token")


@dataclass(frozen=True, slots=True)
class Run:
    """How embeddings are made: two runs of which all of this is equal give the same file.

    Attributes:
        model: slug.
        weights_sha256, weights_kind: of the checkpoint, see `types.Decided`.
        device: "cpu" or "cuda".
        dtype: of the arithmetic; what is kept is float32 always.
        include: kinds, any of `pooling.KINDS`.
        layers: ascending, 0 (embedding) .. N (last).
        dim: D.
        long: what becomes of records above `max_residues`: "error", "truncate" or "window".
        max_residues: residues.
        format: suffix of the file, with its dot.
        keys: what names a dataset in HDF5, see `hdf5.py`.
        shard: which of how many parts, counted from 1, see `shards.py`; None is the whole.
        region: the residues that are pooled, `Regions.described`; None is all of them.
    """

    model: str
    weights_sha256: str
    weights_kind: str
    device: str
    dtype: str
    include: tuple[str, ...]
    layers: tuple[int, ...]
    dim: int
    long: Literal["error", "truncate", "window"]
    max_residues: int
    format: str
    keys: str
    shard: tuple[int, int] | None = None
    region: str | None = None

    @property
    def pooling(self) -> str:
        """What became of the rows of the residues, in one word if it is one."""
        return ",".join("none" if kind == "per_token" else kind for kind in self.include)

    @property
    def columns(self) -> tuple[str, ...]:
        """The attributes of an Entry that files have beside its id: those that say something."""
        used = self.long != "error" or self.region is not None
        return (
            "length",
            *(["used"] if used else []),
            *(["windows"] if self.long != "error" else []),
            *(["region"] if self.region is not None else []),
        )

    def described(self) -> dict[str, object]:
        """As JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def differences(self, earlier: dict[str, object]) -> list[str]:
        """What is not as in an earlier run, one clause for each attribute."""
        now = self.described()
        return [
            f"{field.name.replace('_', ' ')} was {_text(earlier.get(field.name))}"
            f" and is {_text(now[field.name])}"
            for field in fields(self)
            if earlier.get(field.name) != now[field.name]
        ]


def _text(value: object) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one record.

    Attributes:
        line: of its header in the input, 1-based; of a table, the row.
        id, header: as they were read.
        sha256: of its sequence as written.
        length: residues; 0 where there was no telling.
        used: residues that the embedding is of, those of its region; 0 for a reject.
        windows: pieces in which it was seen; 1 is whole, 0 is a reject.
        key: another name for its dataset, where the run asks for one.
        reason: why it was rejected; empty for one that was kept.
        size, crc: bytes that it has in the work directory, and their CRC-32.
        region: the residues used, where the run is of regions.
        unit: what `line` counts, "line" or "row".
    """

    line: int
    id: str
    header: str
    sha256: str
    length: int
    used: int
    windows: int
    key: str
    reason: str
    size: int
    crc: int
    region: str = ""
    unit: str = "line"

    @property
    def place(self) -> str:
        """As that of its record."""
        return f"{self.unit} {self.line}"


class Kept(Protocol):
    """What was made, in input order; each time it is asked it reads its files anew."""

    @property
    def run(self) -> Run: ...

    @property
    def count(self) -> int:
        """Records with embeddings."""

    @property
    def residues(self) -> int:
        """Residues that they are of, all together."""

    def entries(self) -> Iterator[Entry]:
        """Those of the records with embeddings."""

    def rows(self) -> Iterator[tuple[Entry, dict[str, Float]]]:
        """The same with kind -> float32 (n, k, D): n is 1, or the residues used for per_token."""

    def file(self, name: str) -> Path:
        """That of a kind: all of its rows end to end, little-endian float32; or that with all
        entries ("journal.jsonl") or all rejects ("rejects.fasta")."""


def grouped(kept: Kept, size: int) -> Iterator[tuple[list[Entry], dict[str, Float]]]:
    """Some records at a time: their entries, and kind -> (records, k, D). Not of per_token."""
    rows = kept.rows()
    while group := list(islice(rows, size)):
        kinds = group[0][1]
        yield (
            [entry for entry, _ in group],
            {kind: np.concatenate([own[kind] for _, own in group]) for kind in kinds},
        )
