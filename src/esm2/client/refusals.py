"""Refusals on the wire -> errors of the classes that the server raised. Pure.

    {"error": "the queue is full ...", "code": "service.overloaded"}       Overloaded
    {"error": {"items__1__sequence": ["residue 3 is 'J' ..."]}, ...}       InvalidRequest
    {"error": "...", "code": "of.tomorrow"}                                Refused

A fault of an item is told at the place of its sequence in the caller's list, as `esm2.load` does:
"items__1__sequence" of the batch that began with sequence 8 is "sequences[9]", and
"items__0__variants__3" is "variants[3]".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from esm2.errors import Esm2Error, InvalidRequest, Refused, UnexpectedReply


def _and_below(kind: type[Esm2Error]) -> Iterator[type[Esm2Error]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _and_below(child)


def _by_code() -> dict[str, type[Esm2Error]]:
    """Code -> class; where a child has its parent's code, the parent is meant."""
    classes: dict[str, type[Esm2Error]] = {}
    for kind in _and_below(Esm2Error):
        classes.setdefault(kind.code, kind)
    return classes


_CLASSES = _by_code()


def error_of(status: int, content: object, first: int = 0) -> Esm2Error:
    """The error in the JSON body of a refusal.

    Args:
        status: of the reply.
        content: the body.
        first: place of the first item of the request among all sequences of the caller.

    Returns:
        the error, to be raised; UnexpectedReply where no server of ours said that.
    """
    said = content.get("error") if isinstance(content, dict) else None
    code = content.get("code") if isinstance(content, dict) else None
    if isinstance(said, dict) and isinstance(code, str):
        return InvalidRequest(_faults(said, first), code)
    if not isinstance(said, str) or not isinstance(code, str):
        return UnexpectedReply(f"status {status} came without an error and its code")
    kind = _CLASSES.get(code)
    return kind.retold(said) if kind else Refused(said, status, code)


def of_its_only_item(error: InvalidRequest) -> Esm2Error:
    """What is wrong with the one item of a request, where that is all; else the same error."""
    kind = _CLASSES.get(error.code)
    if list(error.faults) != ["sequences[0]"] or kind is None:
        return error
    return kind.retold("; ".join(error.faults["sequences[0]"]))


def _faults(said: dict[Any, Any], first: int) -> dict[str, list[str]]:
    return {
        _place(str(place), first): [str(m) for m in (told if isinstance(told, list) else [told])]
        for place, told in said.items()
    }


def _place(place: str, first: int) -> str:
    item = re.fullmatch(r"items__(\d+)__sequence", place)
    if item:
        return f"sequences[{first + int(item[1])}]"
    variant = re.fullmatch(r"items__0__variants__(\d+)", place)
    return f"variants[{variant[1]}]" if variant else place
