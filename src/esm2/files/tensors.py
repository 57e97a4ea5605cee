"""OUT.safetensors: the arrays of OUT.npz (`npz.py`), to be mapped into memory.

ids     uint8, UTF-8 text of one id a line:  bytes(t["ids"]).decode().split("\\n")
regions the same of the residues that are pooled; only with --region
lengths, layers, embeddings, ...             as in the npz
__metadata__                                 how it was made
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path

import numpy as np

from esm2.files import npz
from esm2.files.run import Entry, Kept
from esm2.pooling import KINDS


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
