"""OUT.csv and OUT.jsonl: embeddings as text, float32 in the fewest digits that give it back.

    id,length,e0,e1,...                                       one vector a record
    {"id": "P1", "length": 120, "embeddings": [{"layer": 33, "embedding": [...]}]}

A line of JSON has the words of BioLM's API v3, and of `esm2`'s answers to it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson

from esm2.files.run import Entry, Kept, Run
from esm2.pooling import KINDS
from esm2.types import Float, Outputs

_WORDS = {
    "mean": ("embeddings", "embedding"),
    "bos": ("bos_embeddings", "embedding"),
    "per_token": ("per_token_embeddings", "embeddings"),
    "max": ("max_embeddings", "embedding"),
    "min": ("min_embeddings", "embedding"),
}


def _fields(run: Run, entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in ("id", *run.columns)}


def write_csv(path: Path, kept: Kept, _meta: Mapping[str, object]) -> list[str]:
    """Write OUT.csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["id", *kept.run.columns, *(f"e{i}" for i in range(kept.run.dim))])
        for entry, rows in kept.rows():
            (vector,) = rows.values()
            numbers = orjson.dumps(vector.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)
            lines.writerow([*_fields(kept.run, entry).values(), *numbers[1:-1].decode().split(",")])
    return []


def write_jsonl(path: Path, kept: Kept, _meta: Mapping[str, object]) -> list[str]:
    """Write OUT.jsonl."""
    with path.open("wb") as file:
        for entry, rows in kept.rows():
            by_layer = {
                kind: dict(zip(kept.run.layers, array.swapaxes(0, 1), strict=True))
                for kind, array in rows.items()
            }
            file.write(_line(_fields(kept.run, entry), by_layer))
    return []


def json_line(run: Run, record_id: str, numbers: Mapping[str, object], outputs: Outputs) -> bytes:
    """One record as soon as it is done.

    Args:
        numbers: its length and what its embedding is of, by their names in Entry.
    """
    return _line(
        {"id": record_id, **{name: numbers[name] for name in run.columns}},
        {kind: getattr(outputs, kind) for kind in KINDS if kind in run.include},
    )


def _line(fields: dict[str, object], by_layer: Mapping[str, Mapping[int, Float]]) -> bytes:
    content = dict(fields)
    for kind, arrays in by_layer.items():
        plural, singular = _WORDS[kind]
        content[plural] = [
            {
                "layer": layer,
                singular: np.ascontiguousarray(own if kind == "per_token" else own.reshape(-1)),
            }
            for layer, own in sorted(arrays.items())
        ]
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
