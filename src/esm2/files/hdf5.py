"""OUT.h5: a dataset for each record, flat, as protspace, EAT and biotrainer read them.

    /                     model_name, model_id, weights_sha256, layer, pooling, dtype, ...
    ├── P69905            float32 (D,), or (L, D) for residues
    │                     original_id, sequence_length, description (the header, if it has more);
    │                     with --long truncated and windows, with --region region
    └── ...

One kind and one layer a file: those who read such files take all of its datasets together. What
names a dataset:

    id            the first word of the header, `/` as `_`
    accession     `sp|P69905|HBA_HUMAN` as P69905, and the second field of any other `a|b|c`
    hash          SHA-256 of the sequence
    biotrainer    biotrainer's hash of the sequence; datasets are gzipped, as it writes them

A vector lies in the header of its dataset (HDF5's compact layout), which many small ones want. An
id that was there before gets `#2`, `#3`, ... behind it. Sequences that are there already share a
dataset where it is named for the sequence: it has the ids of all of them. Both are told. A NUL,
which HDF5 has no room for, is `_`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t

from esm2.files.run import Entry, Kept
from esm2.files.stored import Stored, made
from esm2.types import Float

FORMAT_VERSION = 1

_BY_SEQUENCE = ("hash", "biotrainer")


def write(path: Path, kept: Kept, meta: Mapping[str, object]) -> list[str]:
    """Write the file.

    Returns:
        what has to be said about names that were taken.
    """
    run = kept.run
    (kind,) = run.include
    renamed = 0
    numbers: dict[str, int] = {}  # of names that were taken: the last one given
    others: dict[str, list[str]] = {}  # ids that share a dataset with an earlier record
    with created(path) as file:
        for name, value in _about(kept, meta).items():
            file.attrs[name] = value
        vectors, attributes = _Vectors(file, run.dim), _Attributes()
        for entry, rows in kept.rows():
            key = _key(entry, run.keys)
            if key in file:
                if run.keys in _BY_SEQUENCE:
                    others.setdefault(key, []).append(text(entry.id))
                    continue
                renamed += 1
                key = _free(file, key, numbers)
            data = rows[kind][:, 0]
            if kind == "per_token" or run.keys == "biotrainer":
                own = data if kind == "per_token" else data[0]
                dataset = file.create_dataset(key, data=own, **_filters(run.keys)).id
            else:
                dataset = vectors.create(key, data)
            for name, value in _described(kept, entry).items():
                attributes.create(dataset, name, value)
        for key, ids in others.items():
            file[key].attrs["other_ids"] = np.array(ids, dtype=h5py.string_dtype())
    shared = sum(map(len, others.values()))
    notes = []
    if renamed:
        notes.append(
            f"{renamed} of its names were taken by an earlier record, and have #2, #3, ... behind"
            " them; original_id has the id"
        )
    if shared:
        notes.append(
            f"{shared} of the records {'has' if shared == 1 else 'have'} a sequence that is there"
            " already, and share its dataset; other_ids has their ids"
        )
    return notes


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """A new file.

    Raises:
        OSError: the disk is full, or failed.
    """
    with path.open("w+b", 0) as raw:
        disk = _Disk(raw)
        try:
            # Thousands of names in a group are slow in HDF5's oldest layout (h5py#1055).
            with h5py.File(disk, "w", libver=("v110", "latest")) as file:
                yield file
        except (OSError, RuntimeError, KeyError):
            if disk.error is None:
                raise
        if disk.error is not None:
            raise disk.error


class _Disk(io.RawIOBase):
    """A file that takes everything, and knows the error if the disk does not.

    HDF5 holds on to what it could not write, and crashes the process when it ends (1.14, h5py 3).

    Attributes:
        error: the first that there was.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def readinto(self, buffer: Any) -> int:
        return self._raw.readinto(buffer)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        try:
            while view and self.error is None:
                view = view[self._raw.write(view) :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def _about(kept: Kept, meta: Mapping[str, object]) -> dict[str, Any]:
    run = kept.run
    return {
        "model_name": run.model.replace("-", "_"),  # protspace's spelling; it wants this attribute
        "model_id": run.model,
        "weights_sha256": run.weights_sha256,
        "weights_kind": run.weights_kind,
        "layer": run.layers[0],
        "pooling": run.pooling,
        **({"region": run.region} if run.region is not None else {}),
        "dtype": run.dtype,
        "long": run.long,
        "max_residues": run.max_residues,
        "format_version": FORMAT_VERSION,
        "created_by": f"esm2 {meta['esm2']}",
    }


def _described(kept: Kept, entry: Entry) -> dict[str, str | int]:
    described: dict[str, str | int] = {
        "original_id": text(entry.id),
        "sequence_length": entry.length,
    }
    if entry.header != entry.id:
        described["description"] = text(entry.header)
    if kept.run.long != "error":
        described["truncated"] = entry.windows == 1 and entry.length > kept.run.max_residues
        described["windows"] = entry.windows
    if kept.run.region is not None:
        described["region"] = entry.region
    return described


def _filters(keys: str) -> dict[str, Any]:
    if keys == "biotrainer":
        return {"compression": "gzip", "chunks": True}
    return {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunks": True}


class _Vectors:
    """Datasets of one vector, by HDF5's own functions: h5py's take three times as long."""

    def __init__(self, file: h5py.File, dim: int) -> None:
        self._group = file.id
        self._space = h5s.create_simple((dim,))
        self._layout = h5p.create(h5p.DATASET_CREATE)
        self._layout.set_layout(h5d.COMPACT)
        self._layout.set_obj_track_times(False)  # the same run gives the same bytes

    def create(self, key: str, vector: Float) -> h5d.DatasetID:
        kind = h5t.IEEE_F32LE
        dataset = h5d.create(self._group, key.encode(), kind, self._space, self._layout)
        dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(vector))
        return dataset


class _Attributes:
    """Attributes of datasets, by HDF5's own functions."""

    def __init__(self) -> None:
        self._space = h5s.create(h5s.SCALAR)
        self._text = h5py.string_dtype()
        self._kinds = {
            str: (h5t.py_create(self._text, logical=True), self._text),
            int: (h5t.NATIVE_INT64, np.dtype(np.int64)),
            bool: (h5t.py_create(np.dtype(bool), logical=True), np.dtype(bool)),
        }

    def create(self, dataset: h5d.DatasetID, name: str, value: str | int) -> None:
        kind, dtype = self._kinds[type(value)]
        h5a.create(dataset, name.encode(), kind, self._space).write(np.array(value, dtype=dtype))


def _key(entry: Entry, keys: str) -> str:
    if keys == "biotrainer":
        return entry.key
    if keys == "hash":
        return entry.sha256
    name = entry.id
    if keys == "accession" and len(fields := name.split("|")) > 1 and fields[1]:
        name = fields[1]
    name = text(name).replace("/", "_")
    return "_" if name == "." else name  # HDF5's own name for the group itself


def text(value: str) -> str:
    """As HDF5 can keep it."""
    return value.replace("\0", "_")


def _free(file: h5py.File, key: str, numbers: dict[str, int]) -> str:
    """The next name of a record whose own is taken, counted in `numbers`."""
    number = numbers.get(key, 1) + 1
    while f"{key}#{number}" in file:
        number += 1
    numbers[key] = number
    return f"{key}#{number}"


# --- reading -----------------------------------------------------------------------------------


def read(path: Path) -> Stored:
    """An OUT.h5 with one vector a record; see `stored.guarded` for what it may raise.

    Its records are in the order of the names of their datasets; one that several records share is
    each one's.
    """
    with h5py.File(path) as file:
        about = dict(file.attrs)
        pooling = "per_token" if about["pooling"] == "none" else about["pooling"]
        meta = about | {
            "model": about["model_id"],
            "include": [pooling],
            "layers": [about["layer"]],
        }
        first = next(iter(file.values()), None)
        dim = 0 if first is None else first.shape[-1]

    def records() -> Iterator[tuple[str, Float]]:
        with h5py.File(path) as file:
            for name in sorted(file):
                dataset = file[name]
                vector, about = dataset[:], dataset.attrs
                yield about["original_id"], vector
                for other in about.get("other_ids", ()):
                    yield other, vector

    def blocks(size: int) -> Iterator[tuple[list[str], Float]]:
        each = records()
        while block := list(islice(each, size)):
            yield [name for name, _ in block], np.stack([vector for _, vector in block])

    return made(path, meta, dim, blocks)
