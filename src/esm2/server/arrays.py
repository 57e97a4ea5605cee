"""Arrays on the wire as files of arrays, written piece by piece.

    application/x-npz              numpy.load(io.BytesIO(reply))       a .npz, not compressed
    application/vnd.safetensors    safetensors.numpy.load(reply)       metadata say whose numbers

Arrays are named by item (0 is the first), kind and layer: 0.mean.33, 0.per_token.33, 0.logits.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esm2.errors import BeyondFloat16
from esm2.types import Float

Arrays = Mapping[str, NDArray[Any]]

_PIECE = 1 << 18  # bytes


def halved(arrays: Mapping[str, Float]) -> dict[str, NDArray[np.float16]]:
    """The same in float16.

    Raises:
        BeyondFloat16: a number is too large; it would become infinite.
    """
    halves = {}
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            halves[name] = array.astype(np.float16)
        if not np.isfinite(halves[name]).all():
            raise BeyondFloat16(name)
    return halves


def npz(arrays: Arrays) -> Iterator[bytes]:
    """A .npz of the arrays."""
    written = _Written()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                rows = np.asarray(array, order="C")
                header = np.lib.format.header_data_from_array_1_0(rows)
                np.lib.format.write_array_header_1_0(member, header)
                for piece in _bytes(rows):
                    member.write(piece)
                    yield from written.take()
    yield from written.take()


def safetensors(arrays: Arrays, metadata: Mapping[str, str]) -> Iterator[bytes]:
    """A safetensors file of the arrays.

    Args:
        metadata: kept in the file; who gave the numbers.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        dtype = f"F{8 * array.itemsize}"
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    yield len(text).to_bytes(8, "little") + text
    for array in arrays.values():
        yield from _bytes(np.asarray(array, order="C"))


def _bytes(array: NDArray[Any]) -> Iterator[bytes]:
    view = array.reshape(-1).view(np.uint8)  # little-endian everywhere we run
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE].tobytes()


class _Written:
    """A file to write to whose content can be taken away; it cannot be sought in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        yield from pieces
