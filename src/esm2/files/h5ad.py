"""OUT.h5ad: a matrix with a row for each record, for AnnData, scanpy and their like.

    n records, D dimensions
    ├── X        (n, D) float32; of several kinds or layers, the first kind of the last layer
    ├── obsm     the others, named max_33 or mean_0, (n, D) each
    ├── obs      the names of the rows are the ids; original_id, description, length, [used,
    │            windows, region], sequence_sha256
    ├── var      the names of the columns: e0, e1, ...
    └── uns      esm2: how it was made, and what X is

AnnData wants names that differ: an id that was there before gets `#2`, `#3`, ... behind it, which
is told. A NUL, which HDF5 has no room for in a text, is `_`.

Source: the layout is anndata's "on-disk format", as of anndata 0.8 and later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from esm2.files import names
from esm2.files.hdf5 import created, text
from esm2.files.run import VECTORS, Entry, Kept, grouped
from esm2.files.stored import Stored, made
from esm2.types import Float

_TEXT = h5py.string_dtype()
_GROUP_BYTES = 1 << 22
_GROUP_NAMES = 1 << 12


def write(path: Path, kept: Kept, meta: Mapping[str, object]) -> list[str]:
    """Write the file.

    Returns:
        what has to be said about names that were taken.
    """
    run = kept.run
    kinds = [kind for kind in VECTORS if kind in run.include]
    with created(path) as file:
        _mark(file, "anndata", "0.1.0")
        for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            _mark(file.create_group(name), "dict", "0.1.0")
        first = f"{kinds[0]}_{run.layers[-1]}"
        matrices = {
            (kind, place): file.create_dataset(
                "X" if (name := f"{kind}_{layer}") == first else f"obsm/{name}",
                (kept.count, run.dim),
                np.float32,
            )
            for kind in kinds
            for place, layer in enumerate(run.layers)
        }
        for matrix in matrices.values():
            _mark(matrix, "array", "0.2.0")
        start, size = 0, max(1, _GROUP_BYTES // (4 * run.dim * len(matrices)))
        for entries, arrays in grouped(kept, size):
            stop = start + len(entries)
            for (kind, place), matrix in matrices.items():
                matrix[start:stop] = arrays[kind][:, place]
            start = stop
        _write_obs(file, kept)
        _write_frame(file, "var", run.dim, lambda: (f"e{i}" for i in range(run.dim)), [])
        _write_meta(_mark(file.create_group("uns/esm2"), "dict", "0.1.0"), {**meta, "X": first})
    renamed = sum(count - 1 for count in names.duplicates(kept, _name).values())
    if not renamed:
        return []
    return [
        f"{renamed} of its ids {'was' if renamed == 1 else 'were'} an earlier record's, and"
        f" {'has' if renamed == 1 else 'have'} #2, #3, ... behind, as names of AnnData must differ;"
        " original_id has the id"
    ]


def _write_obs(file: h5py.File, kept: Kept) -> None:
    counted = [name for name in kept.run.columns if name != "region"]
    texts: dict[str, Callable[[Entry], str]] = {
        "original_id": lambda entry: entry.id,
        "description": lambda entry: entry.header,
        "sequence_sha256": lambda entry: entry.sha256,
    }
    if kept.run.region is not None:
        texts["region"] = lambda entry: entry.region
    columns = ["original_id", "description", *kept.run.columns, "sequence_sha256"]
    obs = _write_frame(file, "obs", kept.count, lambda: names.unique(kept, _name), columns)
    for name, own in texts.items():
        _write_texts(obs, name, kept.count, map(own, kept.entries()))
    for name in counted:
        numbers = np.fromiter((getattr(e, name) for e in kept.entries()), np.int64, kept.count)
        _mark(obs.create_dataset(name, data=numbers), "array", "0.2.0")


def _write_frame(
    file: h5py.File, name: str, rows: int, index: Callable[[], Iterable[str]], columns: list[str]
) -> h5py.Group:
    """A table with names of its rows; its columns are the caller's to write."""
    frame = _mark(file.create_group(name), "dataframe", "0.2.0")
    frame.attrs["_index"] = "_index"
    frame.attrs["column-order"] = np.array(columns, dtype=_TEXT)
    _write_texts(frame, "_index", rows, index())
    return frame


def _write_texts(group: h5py.Group, name: str, count: int, texts: Iterable[str]) -> None:
    column = _mark(group.create_dataset(name, (count,), _TEXT), "string-array", "0.2.0")
    cleaned: Iterator[str] = map(text, texts)
    for start in range(0, count, _GROUP_NAMES):
        some = list(islice(cleaned, _GROUP_NAMES))
        column[start : start + len(some)] = some


def _write_meta(group: h5py.Group, meta: Mapping[str, object]) -> None:
    for name, value in meta.items():
        if isinstance(value, str):
            _mark(group.create_dataset(name, data=text(value), dtype=_TEXT), "string", "0.2.0")
        elif isinstance(value, Sequence) and all(isinstance(own, str) for own in value):
            _write_texts(group, name, len(value), value)
        else:
            kind = "array" if isinstance(value, Sequence) else "numeric-scalar"
            _mark(group.create_dataset(name, data=value), kind, "0.2.0")


def _mark(element: Any, kind: str, version: str) -> Any:
    """The same group or dataset, with what says how it is to be read."""
    element.attrs["encoding-type"] = kind
    element.attrs["encoding-version"] = version
    return element


def _name(entry: Entry) -> str:
    return text(entry.id)


def read(path: Path) -> Stored:
    """An OUT.h5ad with one vector a record; see `stored.guarded` for what it may raise."""
    with h5py.File(path) as file:
        own = {name: value[()] for name, value in file["uns/esm2"].items()}
        dim = file["X"].shape[1]
    meta = {name: _read(value) for name, value in own.items()}

    def blocks(size: int) -> Iterator[tuple[list[str], Float]]:
        with h5py.File(path) as file:
            ids, matrix = file["obs/original_id"].asstr(), file["X"]
            for start in range(0, len(matrix), size):
                yield list(ids[start : start + size]), matrix[start : start + size]

    return made(path, meta, dim, blocks)


def _read(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return [_read(each) for each in value] if isinstance(value, np.ndarray) else value
