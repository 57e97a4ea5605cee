"""A request body: read with a limit, gunzipped with the same limit, parsed, checked.

    bytes on the wire  ->  at most N bytes  ->  inflated, at most N bytes  ->  JSON  ->  model

BioLM's SDKs of 2026 compress every body above 256 bytes. The size is enforced while reading, so a
body that lies about its length, has none, or is a bomb costs at most the limit. Faults are
collected: a reply names every bad item, not only the first.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from esm2.errors import (
    BodyTooLarge,
    InvalidRequest,
    NotJson,
    RequestError,
    UnsupportedEncoding,
)

Body = TypeVar("Body", bound=BaseModel)
_GZIP = 16 + zlib.MAX_WBITS


async def read_body(request: Request, model: type[Body], limit: int) -> Body:
    """The body of a request as a checked model.

    Args:
        model: what the JSON has to look like.
        limit: the most bytes, both as sent and after inflation.

    Raises:
        BodyTooLarge, UnsupportedEncoding, NotJson: before it is looked at.
        InvalidRequest: naming each place that is wrong.
    """
    raw = await _read(request, limit)
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from error
    if not isinstance(content, dict):
        raise NotJson('it must be an object such as {"items": [{"sequence": "MKT"}]}')
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _invalid(error) from error


async def _read(request: Request, limit: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise UnsupportedEncoding(
            f"Content-Encoding {encoding[:40]!r} is not understood; send gzip or plain JSON"
        )
    if int(request.headers.get("content-length", 0)) > limit:
        raise BodyTooLarge(limit)
    inflate = _Gunzip(limit) if "gzip" in encoding else None
    received, body = 0, bytearray()
    async for chunk in request.stream():
        received += len(chunk)
        body += inflate(chunk) if inflate else chunk
        if max(received, len(body)) > limit:
            raise BodyTooLarge(limit)
    if inflate:
        inflate.finish()
    return bytes(body)


class _Gunzip:
    """Inflates piece by piece and stops one byte past the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inflate = zlib.decompressobj(_GZIP)

    def __call__(self, chunk: bytes) -> bytes:
        try:
            inflated = self._inflate.decompress(chunk, self._limit + 1)
        except zlib.error as error:
            raise NotJson("it says it is gzip and is not, or is damaged") from error
        if self._inflate.unconsumed_tail:
            raise BodyTooLarge(self._limit)
        if self._inflate.unused_data:
            raise NotJson("there is something after the end of its gzip stream")
        return inflated

    def finish(self) -> None:
        if not self._inflate.eof:
            raise NotJson("its gzip stream is cut short")


# --- faults ------------------------------------------------------------------------------------

# Sentences of our own where pydantic speaks to Python programmers.
_SENTENCES: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "this field is required",
    "extra_forbidden": lambda _: "unknown field; see /docs for the fields there are",
    "model_type": lambda _: "must be an object",
    "string_type": lambda _: "must be a string",
    "int_type": lambda _: "must be a whole number",
    "list_type": lambda _: "must be a list",
    "too_short": lambda context: (
        f"needs at least {context['min_length']}, has {context['actual_length']}"
    ),
    "literal_error": lambda context: f"must be one of {context['expected']}",
}


def _invalid(error: ValidationError) -> InvalidRequest:
    faults: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False, include_input=False):
        sentence = _SENTENCES.get(fault["type"], lambda _, fault=fault: fault["msg"])
        place = "__".join(str(part) for part in fault["loc"]) or "body"
        faults.setdefault(place, []).append(sentence(fault.get("ctx", {})))
    return InvalidRequest(faults)


class Faults:
    """Collects what is wrong with a request, place by place.

    with Faults() as faults:
        for index, item in enumerate(body.items):
            with faults.at("items", index, "sequence"):
                tokenize(item.sequence)

    Leaving the outer context raises InvalidRequest if there was anything.
    """

    def __init__(self) -> None:
        self._faults: dict[str, list[str]] = {}
        self._codes: set[str] = set()

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._faults:
            code = self._codes.pop() if len(self._codes) == 1 else InvalidRequest.code
            raise InvalidRequest(self._faults, code)

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Note a RequestError raised inside, under its place, and go on."""
        try:
            yield
        except RequestError as error:
            self._faults.setdefault("__".join(map(str, place)), []).append(str(error))
            self._codes.add(error.code)
