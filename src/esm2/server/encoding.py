"""Replies, written straight from numpy: JSON, or the arrays themselves.

JSON numbers have the digits of BioLM's recorded answers: a float32 printed as the float64 of the
same value ("0.005844539031386375"). Parsed as float32 they are the very number the engine gave.

    Accept: application/x-npz      ->  numpy.load(reply), float32 arrays named
                                       0.mean.33   0.per_token.33   0.bos.33   0.logits
                                       0.contacts  0.attentions     0.log_prob   (0 = first item)

Every reply says which version answered; every reply of a model says which weights and dtype.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from esm2 import __version__
from esm2.alphabet import AMINO_ACID_COLUMNS
from esm2.types import Decided, Float, Outputs

_NPZ = "application/x-npz"


class _Digits:
    """An array on its way into JSON; it becomes float64 only when it is its turn."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array


def numbers(array: np.ndarray[Any, Any]) -> object:
    """Mark a float32 array to be written as nested lists of numbers."""
    return _Digits(array)


def _double(value: object) -> Any:
    """orjson asks for what it cannot write: marked arrays, whose float32 it would cut short."""
    if isinstance(value, _Digits):
        return value.array.astype(np.float64, order="C")
    raise TypeError(f"a reply cannot hold {type(value).__name__}")


def json_response(
    content: dict[str, Any] | list[Any], status: int = 200, *, of: Decided | None = None
) -> Response:
    """A JSON reply; arrays are marked with `numbers`. `of` is the model that gave them."""
    body = orjson.dumps(content, default=_double, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, provenance(of), media_type="application/json")


def arrays_response(arrays: dict[str, Float], of: Decided) -> Response:
    """An uncompressed .npz."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # the stubs take the names for flags
    return Response(file.getvalue(), headers=provenance(of), media_type=_NPZ)


def wants_arrays(accept: str) -> bool:
    """Whether an Accept header asks for arrays; JSON is the answer to everything else."""
    return any(part.partition(";")[0].strip().lower() == _NPZ for part in accept.split(","))


def provenance(of: Decided | None) -> dict[str, str]:
    """The headers that say where numbers come from."""
    headers = {"X-ESM2-Version": __version__}
    if of is not None:
        headers |= {
            "X-ESM2-Model": of.slug,
            "X-ESM2-Weights": of.weights_sha256,
            "X-ESM2-Weights-Kind": of.weights_kind,
            "X-ESM2-Dtype": of.dtype,
        }
    return headers


def twenty(logits: Float) -> Float:
    """The columns of the natural amino acids, all that the wire ever shows: (L, 33) -> (L, 20)."""
    return logits[:, AMINO_ACID_COLUMNS]


def named_arrays(outputs: list[Outputs]) -> dict[str, Float]:
    """Everything in the outputs of a request, under names that say item, kind and layer."""
    arrays: dict[str, Float] = {}
    for index, own in enumerate(outputs):
        for kind in ("mean", "per_token", "bos"):
            for layer, array in getattr(own, kind).items():
                arrays[f"{index}.{kind}.{layer}"] = array
        for kind in ("logits", "contacts", "attentions"):
            array = getattr(own, kind)
            if array is not None:
                arrays[f"{index}.{kind}"] = twenty(array) if kind == "logits" else array
    return arrays
