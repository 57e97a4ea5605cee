"""What a caller wants its reply to be: the Accept and Accept-Encoding headers, read.

    Accept: application/vnd.safetensors;dtype=float16     ->  safetensors, half
    Accept: text/html, */*                                ->  JSON, the answer to everything else
    Accept: application/json;q=0                          ->  406
    Accept-Encoding: gzip, deflate, br, zstd              ->  zstd, which is the fastest

RFC 9110, sections 12.4 and 12.5. Where a caller likes several equally well, arrays go first: nobody
names them by accident.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from esm2.errors import NotAcceptable

JSON = "application/json"
NPZ = "application/x-npz"
SAFETENSORS = "application/vnd.safetensors"

Coding = Literal["zstd", "gzip"]

_HTML = "text/html"

# name, quality, parameters
_Listed = tuple[str, float, Mapping[str, str]]
_QUALITY = re.compile(r"0(\.\d{0,9})?|\.\d{1,9}|1(\.0{0,9})?")
# Below the least quality that can be written: JSON is the answer to all that we do not know.
_UNSAID = 1e-10

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
        NotAcceptable: arrays of a dtype that there is not, or nothing that there is.
    """
    accept = list(_listed(headers.get("accept", "")))
    best = max((_offer(accept, name) for name in (NPZ, SAFETENSORS, JSON)), key=_Offer.rank)
    if best.quality == 0:
        raise NotAcceptable("none of the types that there are", (JSON, NPZ, SAFETENSORS))
    if best.media_type == JSON:
        return Wanted(coding=_coding(headers))
    dtype = best.parameters.get("dtype", "float32")
    if dtype not in _HALF:
        # A name of a dtype is shown, anything else is not: nobody knows what it is.
        shown = repr(dtype) if re.fullmatch(r"[a-z]+\d{1,2}", dtype) else "of another name"
        raise NotAcceptable(f"{best.media_type} with dtype {shown}", tuple(_HALF))
    return Wanted(best.media_type, _HALF[dtype])


def wants_page(headers: Mapping[str, str]) -> bool:
    """Whether HTML is asked for by its name, as browsers do."""
    offer = _offer(list(_listed(headers.get("accept", ""))), _HTML)
    return offer.named and offer.quality > 0


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether a body may be sent as gzip."""
    return _codings(headers).get("gzip", 0.0) > 0


def _coding(headers: Mapping[str, str]) -> Coding | None:
    qualities = _codings(headers)
    offered: tuple[Coding, ...] = ("zstd", "gzip")
    best = max(offered, key=lambda name: qualities.get(name, 0.0))
    return best if qualities.get(best, 0.0) > 0 else None


def _codings(headers: Mapping[str, str]) -> dict[str, float]:
    return {name: quality for name, quality, _ in _listed(headers.get("accept-encoding", ""))}


@dataclass(frozen=True, slots=True)
class _Offer:
    """A type that could be given, and how it is liked.

    Attributes:
        named: whether by its name.
        quality: 0..1.
    """

    media_type: str
    named: bool
    quality: float
    parameters: Mapping[str, str]

    def rank(self) -> tuple[bool, bool, float, bool]:
        """Nobody gets arrays for a wildcard who may have JSON."""
        asked = self.named or self.media_type == JSON
        return (self.quality > 0, asked, self.quality, self.named)


def _offer(accept: Sequence[_Listed], media_type: str) -> _Offer:
    """The closest of the values that fit a type decides (RFC 9110, 12.5.1)."""
    group = media_type.partition("/")[0] + "/*"
    for fitting in (media_type, group, "*/*"):
        values = [value for value in accept if value[0] == fitting]
        if values:
            _, quality, parameters = max(values, key=lambda value: value[1])
            return _Offer(media_type, fitting == media_type, quality, parameters)
    return _Offer(media_type, False, _UNSAID if media_type == JSON else 0.0, {})


def _listed(header: str) -> Iterator[_Listed]:
    """The values of a header in lower case; one whose quality is no number is as if not there."""
    for value in header.lower().split(","):
        name, *parts = (part.strip() for part in value.split(";"))
        pairs = (part.partition("=") for part in parts)
        parameters = {key.strip(): text.strip().strip('"') for key, _, text in pairs}
        quality = parameters.get("q", "1")
        if _QUALITY.fullmatch(quality):
            yield name, float(quality), parameters
