"""JSON replies, written straight from numpy.

Numbers have the digits of BioLM's recorded answers: a float32 printed as the float64 of the same
value ("0.005844539031386375"). Parsed as float32 they are the very number the engine gave.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from fastapi import Response


def _double(value: object) -> Any:
    """orjson asks for what it cannot write: float32 arrays, which it would print in 9 digits."""
    if isinstance(value, _Digits):
        return value.array.astype(np.float64, order="C")
    raise TypeError(f"a reply cannot hold {type(value).__name__}")


class _Digits:
    """An array on its way into JSON; it becomes float64 only when it is its turn."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array


def numbers(array: np.ndarray[Any, Any]) -> object:
    """Mark a float32 array to be written as nested lists of numbers."""
    return _Digits(array)


def json_response(content: dict[str, Any], status: int = 200) -> Response:
    """A JSON reply; arrays are marked with `numbers`."""
    body = orjson.dumps(content, default=_double, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status_code=status, media_type="application/json")
