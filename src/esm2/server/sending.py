"""What a request holds until its reply is sent: memory for the outputs, and how long it may take.

Outputs wait in memory for callers who read slowly. So a request takes its share of the memory for
replies before it is computed, waits for it in turn when others have it, and gives it back when the
last byte is sent or the caller has left.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import accumulate

from starlette.datastructures import Headers

from esm2.budget import reply_bytes
from esm2.catalog import Shape
from esm2.errors import DeadlineExceeded, InvalidHeader, ReplyTooLarge
from esm2.service import CacheUse
from esm2.types import ForwardRequest

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


class ReplyMemory:
    """Bytes that the outputs of all requests may hold together. Used on one event loop.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held(self) -> int:
        """Bytes taken now."""
        return self._held

    async def hold(
        self, requests: list[ForwardRequest], shape: Shape, seconds: float, until: ExitStack
    ) -> None:
        """Take what the outputs of a request hold, when its turn has come.

        Args:
            seconds: how long to wait at most.
            until: gives it back.

        Raises:
            ReplyTooLarge: it is more than there is altogether.
            DeadlineExceeded: the seconds are over.
        """
        sizes = [reply_bytes(own.want, len(own.tokens) - 2, shape) for own in requests]
        size = sum(sizes)
        if size > self._limit:
            fit = sum(1 for so_far in accumulate(sizes) if so_far <= self._limit)
            raise ReplyTooLarge(size, self._limit, fit)
        if self._waiting or self._held + size > self._limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await asyncio.wait_for(turn, seconds)
            except BaseException as error:
                if turn.done() and not turn.cancelled():
                    self._held -= size  # it was given in the same moment
                self._next()
                if isinstance(error, TimeoutError):
                    raise DeadlineExceeded(seconds) from error
                raise
        else:
            self._held += size
        until.callback(self._give_back, size)

    def _give_back(self, size: int) -> None:
        self._held -= size
        self._next()

    def _next(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.done():
                if self._held + size > self._limit:
                    return
                self._held += size
                turn.set_result(None)
            self._waiting.popleft()
