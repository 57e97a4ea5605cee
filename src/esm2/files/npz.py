"""OUT.npz: arrays for numpy.load. None needs pickle.

    n records, D dimensions, k layers
    ├── ids              (n,)      text, in input order, repeated ids included
    │   or ids_utf8      (b,)      uint8, UTF-8 text of one id a line, where an id is so long that
    │                              `ids` would be larger than the rest: each of its cells has room
    │                              for the longest
    ├── lengths          (n,)      int64, residues of each record
    ├── used, windows    (n,)      int64, what its embedding is of; used only with --long or
    │                              --region, windows only with --long
    ├── regions          (n,)      text, the residues that are pooled; only with --region
    ├── layers           (k,)      int64, ascending, 0 (embedding) .. N (last)
    ├── embeddings       (n, D)    float32, mean over the residues; (n, k, D) for several layers
    ├── max_embeddings, min_embeddings, bos_embeddings     (n, D) or (n, k, D) as well
    ├── per_token_embeddings       float32, (R, D) or (R, k, D): the residues of all records end
    │                              to end
    ├── offsets          (n + 1,)  int64, record i is rows offsets[i]:offsets[i + 1] of those
    ├── journal, rejects (b,)      uint8, in a part of a run alone, see `shards.py`
    └── meta             ()        text, a JSON object: how it was made

Only what was asked for is there: `offsets` comes with `per_token_embeddings`. The file is an
uncompressed zip (zip64), so it is as large as its numbers.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from esm2.files.run import Entry, Kept
from esm2.files.stored import Stored, made
from esm2.pooling import KINDS
from esm2.types import Float

ARRAY_OF = {
    "mean": "embeddings",
    "bos": "bos_embeddings",
    "per_token": "per_token_embeddings",
    "max": "max_embeddings",
    "min": "min_embeddings",
}

_FLOAT = "<f4"
_INT = "<i8"
_LONGEST_ID = 256  # characters


def write(path: Path, kept: Kept, meta: Mapping[str, object]) -> list[str]:
    """Write the file.

    Returns:
        what has to be said of ids.
    """
    longest = max((len(entry.id) for entry in kept.entries()), default=1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        if longest <= _LONGEST_ID:
            _write_texts(archive, "ids", kept, lambda entry: entry.id)
        else:
            _write_array(archive, "ids_utf8", np.frombuffer(ids_utf8(kept), np.uint8))
        if kept.run.region is not None:
            _write_texts(archive, "regions", kept, lambda entry: entry.region)
        _write_arrays(archive, kept, meta)
    if longest <= _LONGEST_ID:
        return []
    return [
        f"an id has {longest:,} characters, so there is no array `ids`, which would have room for"
        ' as many in each row: ids = bytes(x["ids_utf8"]).decode().split("\\n")'
    ]


def shape(kept: Kept, kind: str) -> tuple[int, ...]:
    """Of the array of a kind, with a dimension of layers only where there are several."""
    rows = kept.residues if kind == "per_token" else kept.count
    levels = (len(kept.run.layers),) if len(kept.run.layers) > 1 else ()
    return (rows, *levels, kept.run.dim)


def column(kept: Kept, number: Callable[[Entry], int]) -> NDArray[np.int64]:
    """One number of each record, int64 (n,)."""
    return np.fromiter(map(number, kept.entries()), dtype=_INT, count=kept.count)


def numbers(kept: Kept) -> dict[str, NDArray[np.int64]]:
    """The columns of numbers that go with the records."""
    names = (name for name in kept.run.columns if name != "region")
    return {
        "lengths" if name == "length" else name: column(kept, attrgetter(name)) for name in names
    }


def offsets(kept: Kept) -> NDArray[np.int64]:
    """Where the rows of each record begin among all rows per residue, int64 (n + 1,)."""
    return np.concatenate(([0], np.cumsum(column(kept, lambda entry: entry.used))))


def ids_utf8(kept: Kept) -> bytes:
    """One id a line."""
    return "\n".join(entry.id for entry in kept.entries()).encode()


def _write_texts(
    archive: zipfile.ZipFile, name: str, kept: Kept, text: Callable[[Entry], str]
) -> None:
    width = max((len(text(entry)) for entry in kept.entries()), default=1)
    with _member(archive, name, f"<U{width}", (kept.count,)) as out:
        for entry in kept.entries():
            out.write(text(entry).encode("utf-32-le").ljust(4 * width, b"\0"))


def _write_arrays(archive: zipfile.ZipFile, kept: Kept, meta: Mapping[str, object]) -> None:
    for name, values in numbers(kept).items():
        _write_array(archive, name, values)
    _write_array(archive, "layers", np.array(kept.run.layers, _INT))
    for kind in (kind for kind in KINDS if kind in kept.run.include):
        with (
            _member(archive, ARRAY_OF[kind], _FLOAT, shape(kept, kind)) as out,
            kept.file(kind).open("rb") as rows,
        ):
            shutil.copyfileobj(rows, out, 1 << 20)
    if "per_token" in kept.run.include:
        _write_array(archive, "offsets", offsets(kept))
    if kept.run.shard is not None:
        for name, path in (("journal", "journal.jsonl"), ("rejects", "rejects.fasta")):
            _write_bytes(archive, name, kept.file(path))
    _write_array(archive, "meta", np.array(json.dumps(meta)))


def _write_bytes(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    with (
        _member(archive, name, "|u1", (path.stat().st_size,)) as out,
        path.open("rb") as content,
    ):
        shutil.copyfileobj(content, out, 1 << 20)


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]
) -> Iterator[IO[bytes]]:
    """One array of the archive: its header is written, its numbers are the caller's to write."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        yield out


def _write_array(archive: zipfile.ZipFile, name: str, values: NDArray[np.generic]) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
        np.lib.format.write_array(out, values, allow_pickle=False)


# --- reading -----------------------------------------------------------------------------------


def read(path: Path) -> Stored:
    """An OUT.npz with one vector a record; see `stored.guarded` for what it may raise."""
    with zipfile.ZipFile(path) as archive:
        with archive.open("meta.npy") as file:
            meta = json.loads(str(np.lib.format.read_array(file)))
        vectors = _vectors_of(archive)
        with archive.open(f"{vectors}.npy") as file:
            dim = _header(file, _FLOAT)[1]

    def blocks(size: int) -> Iterator[tuple[list[str], Float]]:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(path))
            file = stack.enter_context(archive.open(f"{vectors}.npy"))
            count, _ = _header(file, _FLOAT)
            ids = _ids(archive, stack)
            for first in range(0, count, size):
                rows = min(size, count - first)
                numbers = np.frombuffer(file.read(4 * rows * dim), _FLOAT).reshape(rows, dim)
                yield ids(rows), numbers

    return made(path, meta, dim, blocks)


def _vectors_of(archive: zipfile.ZipFile) -> str:
    """The array that has them; a KeyError where there is none."""
    there = {name.removesuffix(".npy") for name in archive.namelist()}
    return next((name for name in ARRAY_OF.values() if name in there), ARRAY_OF["mean"])


def _header(file: IO[bytes], dtype: str) -> tuple[int, ...]:
    """The shape of an array of that type, whose numbers come next."""
    np.lib.format.read_magic(file)
    dims, _, found = np.lib.format.read_array_header_1_0(file)
    if found != np.dtype(dtype):
        raise ValueError(f"{found} is not {dtype}")
    return dims


def _ids(archive: zipfile.ZipFile, stack: ExitStack) -> Callable[[int], list[str]]:
    """What gives so many ids more."""
    if "ids_utf8.npy" in archive.namelist():
        with archive.open("ids_utf8.npy") as file:
            every = iter(bytes(np.lib.format.read_array(file)).decode().split("\n"))
        return lambda rows: [next(every) for _ in range(rows)]
    file = stack.enter_context(archive.open("ids.npy"))
    np.lib.format.read_magic(file)
    _, _, dtype = np.lib.format.read_array_header_1_0(file)
    return lambda rows: np.frombuffer(file.read(dtype.itemsize * rows), dtype).tolist()
