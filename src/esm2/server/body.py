"""A request body: read with a limit, gunzipped with the same limit, parsed, checked.

    bytes on the wire  ->  at most N bytes  ->  inflated, at most N bytes  ->  JSON  ->  model

BioLM's SDKs of 2026 compress every body above 256 bytes. The size is enforced while reading, so a
body that lies about its length, has none, or is a bomb costs at most the limit. The models hold
what the engine takes (tokens, resolved layers), made while they are checked, so a refusal names
every bad place of a body at once, whatever is wrong there.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from esm2.errors import (
    BodyTimeout,
    BodyTooLarge,
    InvalidRequest,
    NotJson,
    RequestError,
    UnsupportedEncoding,
)
from esm2.service import Service
from esm2.settings import MOST_SUBSTITUTIONS, Settings
from esm2.types import OutputName

Body = TypeVar("Body", bound=BaseModel)
Used = TypeVar("Used")
_GZIP = 16 + zlib.MAX_WBITS
_MOST_FAULTS = 32
# What looks like the name of a field, snake_case or camelCase; anything else could be a sequence.
_NAME = re.compile(
    r"_?[a-z][a-z0-9]{0,11}(_[a-z0-9]{1,12}){0,3}|[A-Za-z][a-z]{1,9}([A-Z][a-z]{1,9}){0,2}"
)
_DEEPEST = 32
# Lists and objects, and names, that a body may have, in all and for each item beside; looking at
# one takes as long as reading a hundred bytes. Values of other kinds: besides, the substitutions.
# orjson lets nothing else go on while it makes them, a million in 20 to 40 ms.
_MOST_INSIDE, _MOST_INSIDE_AN_ITEM = 1024, 64
# A body of so many bytes is read in a millisecond; a larger one in a thread, beside which all else
# goes on.
_READ_AT_ONCE = 1 << 15

_NAME_ENDS = re.compile(rb'"[ \t\r\n]*:')

# A body may inflate to so many times its size, or to so many bytes if that is more.
_MOST_INFLATION = 100
_ANY_INFLATION = 1 << 20

# What a body that is not UTF-8 may be, by its first bytes.
_OTHER = (
    (b"\x1f\x8b", "it is gzip, and the header Content-Encoding does not say so"),
    (b"\xff\xfe", "it is UTF-16, and JSON is UTF-8"),
    (b"\xfe\xff", "it is UTF-16, and JSON is UTF-8"),
    (b"\xef\xbb\xbf", "it begins with a byte order mark, which JSON does not have"),
)

# bgzip makes one of each 64 KB; each takes as long to begin as thousands of bytes to inflate.
_MOST_MEMBERS = 1000


@dataclass(frozen=True, slots=True)
class Rules:
    """What a body is checked against, beyond its form.

    Attributes:
        service: the model that is asked.
        settings: the limits.
        action: what is asked, by its name.
        masks: whether sequences must have no `<mask>`, or some.
        kinds: outputs that this generation speaks.
    """

    service: Service
    settings: Settings
    action: str
    masks: Literal["none", "some"]
    kinds: tuple[OutputName, ...]


async def read_body(
    request: Request, model: type[Body], rules: Rules, use: Callable[[Body, Rules], Used]
) -> tuple[Body, Used]:
    """The body of a request as a checked model, and what it comes to.

    Args:
        model: what the JSON has to look like; its validators see `rules` through `ruled`.
        use: a checked body -> what it comes to; for a large body called in a thread.

    Raises:
        BodyTooLarge, BodyTimeout, UnsupportedEncoding, NotJson: before it is looked at.
        InvalidRequest: naming each place that is wrong.
        RequestError: what `use` raises.
    """
    settings = rules.settings
    try:
        async with asyncio.timeout(settings.body_seconds):
            raw = await _read(request, settings.max_body_bytes)
    except TimeoutError as error:
        raise BodyTimeout(settings.body_seconds) from error

    def checked() -> tuple[Body, Used]:
        body = _check(raw, model, rules)
        return body, use(body, rules)

    return checked() if len(raw) <= _READ_AT_ONCE else await asyncio.to_thread(checked)


def _check(raw: bytes, model: type[Body], rules: Rules) -> Body:
    most = _MOST_INSIDE + _MOST_INSIDE_AN_ITEM * rules.settings.max_items
    if raw.count(b"[") + raw.count(b"{") > most:
        raise InvalidRequest({"body": [f"it has more than {most} lists and objects"]})
    values = most + MOST_SUBSTITUTIONS * rules.settings.max_items
    if raw.count(b",") > values:
        raise InvalidRequest({"body": [f"it has more than {values} values, or commas"]})
    if _name_ends(raw) > most:
        raise InvalidRequest({"body": [f"it has more than {most} names of fields"]})
    content = parse(raw)
    if not isinstance(content, dict):
        raise NotJson('it must be an object such as {"items": [{"sequence": "MKT"}]}')
    _refuse_absurd(content, rules.settings.max_items)
    try:
        return model.model_validate(content, context=rules)
    except ValidationError as error:
        raise _invalid(error) from error


def parse(raw: bytes) -> Any:
    """JSON that can be meant in one way only: no name twice in an object, no endless nesting.

    orjson takes the last of two names, other parsers the first: who checks a request in front of
    this server must not see another one than this server does.

    Raises:
        NotJson: it is not.
    """
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        other = (why for begins, why in _OTHER if raw.startswith(begins))
        raise NotJson(next(other, str(error))) from error
    # Every name ends in a quote and a colon; so may strings with an escaped quote, seldom.
    if _name_ends(raw) != _names(content):
        _refuse_twice(raw)
    return content


def _name_ends(raw: bytes) -> int:
    """How many names there can be, at most."""
    return sum(1 for _ in _NAME_ENDS.finditer(raw))


def _names(content: Any) -> int:
    """The number of names in all objects of a value.

    Raises:
        NotJson: it is nested too deep.
    """
    names = 0
    level = [content]
    for _ in range(_DEEPEST):
        inside: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                names += len(value)
                inside += value.values()
            elif isinstance(value, list):
                inside += value
        level = [value for value in inside if isinstance(value, dict | list)]
        if not level:
            return names
    raise NotJson(f"it is nested more than {_DEEPEST} deep")


def _refuse_twice(raw: bytes) -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        given = dict(pairs)
        if len(given) < len(pairs):
            raise NotJson("an object in it has the same name twice")
        return given

    json.loads(raw, object_pairs_hook=once)


def _refuse_absurd(content: dict[str, Any], max_items: int) -> None:
    """Refuse objects of thousands of fields before each of them becomes a fault."""
    items = content.get("items")
    parts = [
        content,
        content.get("params"),
        *(items[:max_items] if isinstance(items, list) else []),
    ]
    if any(isinstance(part, dict) and len(part) > _MOST_FAULTS for part in parts):
        sentence = (
            f"an object in it has more than {_MOST_FAULTS} fields; see /docs for those there are"
        )
        raise InvalidRequest({"body": [sentence]})


async def _read(request: Request, limit: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        shown = f" {encoding!r}" if re.fullmatch("[a-z]{2,8}(, [a-z]{2,8})?", encoding) else ""
        raise UnsupportedEncoding(
            f"its Content-Encoding{shown} is not understood; send gzip or plain JSON"
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
        if len(body) > max(_ANY_INFLATION, _MOST_INFLATION * received):
            raise NotJson(f"it inflates to over {_MOST_INFLATION} times its size")
    if inflate:
        inflate.finish()
    return bytes(body)


class _Gunzip:
    """Inflates piece by piece and stops one byte past the limit.

    Members that follow each other are one file (RFC 1952, 2.2), as `cat a.gz b.gz` makes it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inflate = zlib.decompressobj(_GZIP)
        self._members = 1

    def __call__(self, chunk: bytes) -> bytes:
        inflated = bytearray()
        while chunk and len(inflated) <= self._limit:
            if self._inflate.eof:
                self._next()
            try:
                inflated += self._inflate.decompress(chunk, self._limit + 1)
            except zlib.error as error:
                if self._members > 1:
                    raise NotJson("there is something after the end of its gzip stream") from error
                raise NotJson("it says it is gzip and is not, or is damaged") from error
            chunk = self._inflate.unused_data
        return bytes(inflated)

    def _next(self) -> None:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise NotJson(f"it has more than {_MOST_MEMBERS} gzip members")
        self._inflate = zlib.decompressobj(_GZIP)

    def finish(self) -> None:
        if not self._inflate.eof:
            beyond = ", or there is something after the end of the one before it"
            told = "its gzip stream" if self._members == 1 else "its last gzip member"
            raise NotJson(f"{told} is cut short{beyond if self._members > 1 else ''}")


# --- faults ------------------------------------------------------------------------------------

Checked = TypeVar("Checked")


def ruled(check: Callable[[Any, Rules], Checked]) -> Callable[[Any, ValidationInfo], Checked]:
    """A validator out of a check: the RequestError it raises becomes a fault of its place."""

    def validate(value: Any, info: ValidationInfo) -> Checked:
        assert isinstance(info.context, Rules)
        try:
            return check(value, info.context)
        except RequestError as error:
            sentence = {"sentence": str(error)}
            raise PydanticCustomError(error.code, "{sentence}", sentence) from error

    return validate


# Sentences of our own where pydantic speaks to Python programmers.
_SENTENCES: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "this field is required",
    "extra_forbidden": lambda _: "unknown field; see /docs for the fields there are",
    "model_type": lambda _: "must be an object",
    "string_type": lambda _: "must be a string",
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "list_type": lambda _: "must be a list",
    "too_short": lambda about: (
        f"needs at least {about['min_length']}, has {about['actual_length']}"
    ),
    "too_long": lambda about: f"holds more than {about['max_length']}",
    "literal_error": lambda about: f"must be one of {about['expected']}",
}


def _shown(part: object) -> str:
    if isinstance(part, int):
        return str(part)
    return str(part) if _NAME.fullmatch(str(part)) else "(a name that is not shown)"


def _invalid(error: ValidationError) -> InvalidRequest:
    """Every fault at its place; of a body that is all wrong, the first ones and a count."""
    found = error.errors(include_url=False, include_input=False)
    faults: dict[str, list[str]] = {}
    for fault in found[:_MOST_FAULTS]:
        own = _SENTENCES.get(fault["type"])
        place = "__".join(map(_shown, fault["loc"])) or "body"
        faults.setdefault(place, []).append(own(fault.get("ctx", {})) if own else fault["msg"])
    if len(found) > _MOST_FAULTS:
        faults["more"] = [f"{len(found) - _MOST_FAULTS} further faults"]
    kinds = {fault["type"] for fault in found}
    only = kinds.pop() if len(kinds) == 1 else ""
    return InvalidRequest(faults, only if only.startswith("request.") else InvalidRequest.code)
