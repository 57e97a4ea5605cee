"""How long a request may take, what it wants of the cache, and what ends with its reply."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import ExitStack

from starlette.datastructures import Headers

from esm2.errors import InvalidHeader
from esm2.service import CacheUse

_TIMEOUT = "X-ESM2-Timeout"


async def until_sent() -> AsyncIterator[ExitStack]:
    """A dependency: what is put on this stack is undone when the reply is sent, or is not to be."""
    with ExitStack() as stack:
        yield stack


def allowed_seconds(headers: Headers, limit: float) -> float:
    """The time that a request may take: what the caller asks for, at most the server's own.

    Raises:
        InvalidHeader: the header says no number of seconds.
    """
    asked = headers.get(_TIMEOUT)
    if asked is None:
        return limit
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InvalidHeader(_TIMEOUT, "a number of seconds, such as 30")
    return min(seconds, limit)


def cache_use(headers: Headers) -> CacheUse:
    """What Cache-Control asks for: no-cache is a fresh result, no-store nothing of the cache.

    Source: RFC 9111, 5.2.1.
    """
    asked = {part.strip().lower() for part in headers.get("cache-control", "").split(",")}
    if "no-store" in asked:
        return "none"
    return "fresh" if "no-cache" in asked else "all"
