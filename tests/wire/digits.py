"""The numbers of an answer as they stand in its text.

`read` keeps every number with a fraction as the text it was, so a test sees digits, not what some
parser made of them. BioLM prints a float32 as the float64 of the same value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np


class Digits(str):
    """A number of an answer, as written."""

    __slots__ = ()


def read(text: bytes | str) -> Any:
    """JSON, numbers with a fraction or an exponent as `Digits`."""
    return json.loads(text, parse_float=Digits, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def float32(nested: Any) -> np.ndarray:
    """Nested lists of `Digits` as float32, as any client would read them."""
    return np.array(nested, dtype=np.float64).astype(np.float32)


def written(value: Any) -> Iterator[Digits]:
    """Every number with a fraction, in order."""
    if isinstance(value, Digits):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from written(part)


def is_float64_of_float32(digits: Digits) -> bool:
    """Whether these are the digits Python prints for that float32."""
    expected = repr(float(np.float32(float(digits))))
    return Decimal(digits).as_tuple().digits == Decimal(expected).as_tuple().digits and (
        Decimal(digits) == Decimal(expected)
    )
