"""JSON, written straight from numpy, and the headers that say where numbers come from.

JSON numbers have the digits of BioLM's recorded answers: a float32 printed as the float64 of the
same value ("0.005844539031386375"). Parsed as float32 they are the very number the engine gave.

Every reply says which version answered; every reply of a model says which weights and dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from esm2 import __version__
from esm2.alphabet import AMINO_ACID_COLUMNS
from esm2.types import Decided, Float, Outputs

_NUMBERS = 1 << 13  # of a piece: about 160 KB, a millisecond


class _Digits:
    """An array on its way into JSON; it becomes float64 only when it is its turn."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array


def numbers(array: np.ndarray[Any, Any]) -> object:
    """Mark a float32 array to be written as nested lists of numbers."""
    return _Digits(array)


def json_pieces(content: object) -> Iterator[bytes]:
    """A JSON value, piece by piece; arrays are marked with `numbers`, and split by their rows."""
    if isinstance(content, _Digits):
        yield from _rows(content.array)
    elif isinstance(content, dict):
        yield from _joined(b"{}", ((f"{name}", value) for name, value in content.items()))
    elif isinstance(content, list) and content and isinstance(content[0], dict | list):
        yield from _joined(b"[]", ((None, value) for value in content))
    else:
        yield orjson.dumps(content)


def _joined(brackets: bytes, parts: Iterator[tuple[str | None, object]]) -> Iterator[bytes]:
    separator = brackets[:1]
    for name, value in parts:
        yield separator if name is None else separator + orjson.dumps(name) + b":"
        yield from json_pieces(value)
        separator = b","
    yield brackets if separator != b"," else brackets[1:]


def _rows(array: np.ndarray[Any, Any]) -> Iterator[bytes]:
    """Nested lists; orjson writes what it is given in the shortest digits, so it gets float64."""
    if array.size <= _NUMBERS or array.ndim == 1:
        double = array.astype(np.float64, order="C")
        yield orjson.dumps(double, option=orjson.OPT_SERIALIZE_NUMPY)
        return
    rows = max(1, _NUMBERS // array[0].size)
    for first in range(0, len(array), rows):
        double = array[first : first + rows].astype(np.float64, order="C")
        text = orjson.dumps(double, option=orjson.OPT_SERIALIZE_NUMPY)
        yield (b"[" if first == 0 else b",") + text[1:-1]
    yield b"]"


def json_response(content: dict[str, Any] | list[Any], status: int = 200) -> Response:
    """A JSON reply without arrays."""
    return Response(orjson.dumps(content), status, provenance(None), media_type="application/json")


def provenance(of: Decided | None) -> dict[str, str]:
    """The headers that say where numbers come from."""
    headers = {"X-ESM2-Version": __version__}
    if of is not None:
        headers |= {
            "X-ESM2-Model": of.slug,
            "X-ESM2-Weights": of.weights_sha256,
            "X-ESM2-Weights-Kind": of.weights_kind,
            "X-ESM2-Dtype": of.dtype,
            "X-ESM2-Kernel": of.kernel,
        }
    return headers


def twenty(logits: Float) -> Float:
    """The columns of the natural amino acids, all that the wire ever shows: (L, 33) -> (L, 20)."""
    return logits[:, AMINO_ACID_COLUMNS]


def named_arrays(outputs: list[Outputs]) -> dict[str, Float]:
    """Everything in the outputs of a request, under names that say item, kind and layer."""
    return {
        f"{index}.{name}": twenty(array) if name == "logits" else array
        for index, own in enumerate(outputs)
        for name, array in own.named()
    }
