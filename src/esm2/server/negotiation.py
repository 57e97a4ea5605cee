"""What a caller wants its reply to be: the Accept and Accept-Encoding headers, read.

    Accept: application/vnd.safetensors;dtype=float16     ->  safetensors, half
    Accept: text/html, */*                                ->  JSON, the answer to everything else
    Accept-Encoding: gzip, deflate, br, zstd              ->  zstd, which is the fastest

RFC 9110, sections 12.4 and 12.5. Where a caller likes several equally well, arrays go first: nobody
names them by accident.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from esm2.errors import NotAcceptable

JSON = "application/json"
NPZ = "application/x-npz"
SAFETENSORS = "application/vnd.safetensors"

Coding = Literal["zstd", "gzip"]

_HALF: Mapping[str, bool] = {"float32": False, "float16": True}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to answer.

    Attributes:
        media_type: JSON, NPZ or SAFETENSORS.
        half: arrays as float16; never of JSON.
        coding: how to compress JSON; arrays would hardly shrink.
    """

    media_type: str = JSON
    half: bool = False
    coding: Coding | None = None


def wanted(headers: Mapping[str, str]) -> Wanted:
    """What the headers of a request ask for.

    Raises:
        NotAcceptable: arrays of a dtype that there is not.
    """
    best, best_quality, best_parameters = JSON, 0.0, {}
    for media_type, parameters in _listed(headers.get("accept", "")):
        quality = _quality(parameters)
        if media_type in (NPZ, SAFETENSORS) and quality > 0:
            known = media_type
        elif media_type in (JSON, "application/*", "*/*"):
            known = JSON
        else:
            continue
        if quality > best_quality or (quality == best_quality and best == JSON != known):
            best, best_quality, best_parameters = known, quality, parameters
    if best == JSON:
        return Wanted(coding=_coding(headers.get("accept-encoding", "")))
    dtype = best_parameters.get("dtype", "float32")
    if dtype not in _HALF:
        raise NotAcceptable(best, dtype, list(_HALF))
    return Wanted(best, _HALF[dtype])


def _coding(header: str) -> Coding | None:
    qualities = {name: _quality(parameters) for name, parameters in _listed(header)}
    offered: tuple[Coding, ...] = ("zstd", "gzip")
    best = max(offered, key=lambda coding: qualities.get(coding, 0.0))
    return best if qualities.get(best, 0.0) > 0 else None


def _listed(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The values of a header, each with its parameters, all in lower case."""
    for value in header.lower().split(","):
        name, *parameters = (part.strip() for part in value.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): text.strip().strip('"') for key, _, text in pairs}


def _quality(parameters: Mapping[str, str]) -> float:
    """q, 0..1; what is no number counts as not wanted."""
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
