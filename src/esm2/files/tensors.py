"""OUT.safetensors: the arrays of OUT.npz (`npz.py`), to be mapped into memory.

ids     uint8, UTF-8 text of one id a line:  bytes(t["ids"]).decode().split("\\n")
regions the same of the residues that are pooled; only with --region
lengths, layers, embeddings, ...             as in the npz
__metadata__                                 how it was made
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path

import numpy as np

from esm2.files import npz
from esm2.files.run import Entry, Kept
from esm2.files.stored import Stored, made
from esm2.pooling import KINDS
from esm2.types import Float


def write(path: Path, kept: Kept, meta: Mapping[str, object]) -> list[str]:
    """Write the file; nothing has to be said about it."""
    arrays = {
        "layers": np.array(kept.run.layers, np.int64),
        **npz.numbers(kept),
        **({"offsets": npz.offsets(kept)} if "per_token" in kept.run.include else {}),
    }
    kinds = [kind for kind in KINDS if kind in kept.run.include]
    texts: dict[str, Callable[[Entry], str]] = {"ids": attrgetter("id")}
    if kept.run.region is not None:
        texts["regions"] = attrgetter("region")
    parts = {name: ("I64", array.shape, array.nbytes) for name, array in arrays.items()}
    for kind in kinds:
        dims = npz.shape(kept, kind)
        parts[npz.ARRAY_OF[kind]] = ("F32", dims, 4 * int(np.prod(dims)))
    for name, text in texts.items():  # last: only these are of odd length
        size = sum(len(text(entry).encode()) + 1 for entry in kept.entries()) - 1
        parts[name] = ("U8", (size,), size)
    with path.open("wb") as file:
        file.write(_header(parts, meta))
        for array in arrays.values():
            file.write(array.tobytes())
        for kind in kinds:
            with kept.file(kind).open("rb") as rows:
                shutil.copyfileobj(rows, file, 1 << 20)
        for text in texts.values():
            for number, entry in enumerate(kept.entries()):
                file.write(("\n" * bool(number) + text(entry)).encode())
    return []


def _header(
    parts: Mapping[str, tuple[str, tuple[int, ...], int]], meta: Mapping[str, object]
) -> bytes:
    """Source: the format's description at huggingface.co/docs/safetensors."""
    text = {name: v if isinstance(v, str) else json.dumps(v) for name, v in meta.items()}
    header: dict[str, object] = {"__metadata__": text}
    end = 0
    for name, (dtype, dims, size) in parts.items():
        header[name] = {"dtype": dtype, "shape": dims, "data_offsets": [end, end + size]}
        end += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the numbers are aligned
    return len(encoded).to_bytes(8, "little") + encoded


def read(path: Path) -> Stored:
    """An OUT.safetensors with one vector a record; see `stored.guarded` for what it may raise."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
        if length > size:
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
    meta = dict(header["__metadata__"])
    meta |= {name: json.loads(meta[name]) for name in ("include", "layers")}
    numbers = next(header[name] for name in npz.ARRAY_OF.values() if name in header)
    count, dim = numbers["shape"][0], numbers["shape"][-1]
    begin, (first_id, end_id) = numbers["data_offsets"][0], header["ids"]["data_offsets"]
    if 8 + length + end_id > size:  # ids are last
        raise ValueError("the file is too short")

    def blocks(size: int) -> Iterator[tuple[list[str], Float]]:
        with path.open("rb") as file:
            file.seek(8 + length + first_id)
            ids = file.read(end_id - first_id).decode().split("\n")
            file.seek(8 + length + begin)
            for first in range(0, count, size):
                rows = min(size, count - first)
                block = np.frombuffer(file.read(4 * rows * dim), "<f4").reshape(rows, dim)
                yield ids[first : first + rows], block

    return made(path, meta, dim, blocks)
