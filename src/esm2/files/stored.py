"""Files of embeddings that are read again, a block of records at a time.

    read("x.npz")  ->  Stored: how it was made, and blocks of (ids, float32 (b, D))

What reads a format stands beside what writes it. A file has to say by which weights it was made,
so .csv and .jsonl cannot be read.
"""

from __future__ import annotations

import lzma
import struct
import tokenize
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from esm2.catalog import CAVEATS
from esm2.errors import FileError
from esm2.types import Float

#: What reading raises where a file is damaged, or was made by others.
DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, BadZipFile, EOFError, LookupError),
    *(lzma.LZMAError, MemoryError, RuntimeError, StopIteration, SyntaxError, TypeError, ValueError),
    *(struct.error, tokenize.TokenError, zlib.error),
)

#: Records in a block -> blocks of (ids, float32 (records, D)), in the order of the file.
Blocks = Callable[[int], Iterator[tuple[list[str], Float]]]


@dataclass(frozen=True, slots=True)
class Stored:
    """A file with one vector for each record.

    Attributes:
        path: of the file.
        model: slug.
        weights_sha256, weights_kind: of the checkpoint, see `types.Decided`.
        layer: 0 (embedding) .. N (last).
        pooling: "mean", "max", "min" or "bos".
        region: the residues that are pooled; empty for all of them.
        dtype: of the arithmetic.
        dim: D.
        blocks: called with the most records of a block, gives them from the first on.
    """

    path: Path
    model: str
    weights_sha256: str
    weights_kind: str
    layer: int
    pooling: str
    region: str
    dtype: str
    dim: int
    blocks: Blocks

    def differences(self, other: Stored) -> list[str]:
        """What makes their vectors not comparable, one clause for each; dtype is not among it."""
        found = []
        if self.weights_sha256 != other.weights_sha256:
            mine, theirs = (f"{own.model} ({own.weights_sha256[:12]})" for own in (self, other))
            found.append(f"the weights are {mine} here and {theirs} there")
        for name in ("layer", "pooling", "region", "dim"):
            mine, theirs = (str(getattr(own, name)) or "none" for own in (self, other))
            if mine != theirs:
                found.append(f"{name} is {mine} here and {theirs} there")
        return found


def made(path: Path, meta: Mapping[str, Any], dim: int, blocks: Blocks) -> Stored:
    """Of a file that says how it was made.

    Args:
        meta: what `esm2 embed` writes down: model, weights_sha256, dtype, include, layers, ...

    Raises:
        FileError: it is a part of a run, or there is not one vector a record.
        one of DAMAGE: `esm2 embed` did not write it.
    """
    if shard := meta.get("shard"):
        reason = f"it is part {shard} of a run; `esm2 merge` makes one file of all"
        raise FileError(path, "read", reason)
    if meta["weights_kind"] not in CAVEATS:
        raise ValueError(f"{meta['weights_kind']!a} is no kind of weights")
    kinds, layers = list(meta["include"]), [int(layer) for layer in meta["layers"]]
    if "per_token" in kinds:
        reason = "it has a vector for each residue (per_token), and one for each record is wanted"
        raise FileError(path, "read", reason)
    if len(kinds) * len(layers) != 1:
        several = ", ".join(f"{kind} of layer {layer}" for kind in kinds for layer in layers)
        reason = f"it has {several}, and one vector for each record is wanted"
        raise FileError(path, "read", reason)
    return Stored(
        path=path,
        model=str(meta["model"]),
        weights_sha256=str(meta["weights_sha256"]),
        weights_kind=str(meta["weights_kind"]),
        layer=layers[0],
        pooling=kinds[0],
        region=str(meta.get("region", "")),
        dtype=str(meta["dtype"]),
        dim=dim,
        blocks=blocks,
    )


def guarded(path: Path, read: Callable[[Path], Stored]) -> Stored:
    """What `read` gives, with every trouble a file can make told as a FileError, now and later."""
    with _told(path):
        path.open("rb").close()  # HDF5 says it at length
        stored = read(path)

    def blocks(size: int) -> Iterator[tuple[list[str], Float]]:
        with _told(path):
            yield from stored.blocks(size)

    return replace(stored, blocks=blocks)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    foreign = "it is damaged, or no file that `esm2 embed` wrote"
    try:
        yield
    except OSError as error:  # HDF5's have no number
        raise FileError(path, "read", error.strerror or foreign) from error
    except DAMAGE as error:
        raise FileError(path, "read", foreign) from error
