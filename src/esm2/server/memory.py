"""Memory for replies: what the outputs of all requests may hold together until they are sent.

Outputs wait in memory for callers who read slowly. So a request takes its share before it is
computed, waits for it in turn when others have it, and gives it back when the last byte is sent or
the caller has left. Three rules keep those who hold much from those who ask for little:

* Small replies have room of their own, so that they never wait for large ones.
* Callers take turns by bytes (`FairQueue`), not by who came first.
* Who holds something already gets at most half of what the others left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate

from esm2.budget import reply_bytes
from esm2.catalog import Shape
from esm2.errors import DeadlineExceeded, ReplyTooLarge
from esm2.fairqueue import FairQueue
from esm2.types import ForwardRequest

# Of the memory for replies: the room for small ones, and what is small (64 of them fill that room).
_ROOM_FOR_SMALL = 1 / 8
_SMALL = 1 / 512


class ReplyMemory:
    """Bytes that the outputs of all requests may hold together. Used on one event loop.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._small_at_most = int(limit * _SMALL)
        self._small = _Room(int(limit * _ROOM_FOR_SMALL))
        self._large = _Room(limit - self._small.limit)

    @property
    def held(self) -> int:
        """Bytes taken now."""
        return self._small.held + self._large.held

    def check(self, requests: list[ForwardRequest], shape: Shape) -> None:
        """Refuse a request whose outputs can never be held.

        Raises:
            ReplyTooLarge: they are more than there is for one reply.
        """
        sizes, most = _sizes(requests, shape), self._large.limit
        if sum(sizes) > most:
            fit = sum(1 for so_far in accumulate(sizes) if so_far <= most)
            raise ReplyTooLarge(sum(sizes), most, fit)

    async def hold(
        self,
        requests: list[ForwardRequest],
        shape: Shape,
        seconds: float,
        until: ExitStack,
        *,
        caller: str = "",
    ) -> None:
        """Take what the outputs of a request hold, when its turn has come.

        Args:
            requests: that passed `check`.
            seconds: how long to wait at most.
            until: gives it back.
            caller: whose request it is.

        Raises:
            DeadlineExceeded: the seconds are over.
        """
        size = sum(_sizes(requests, shape))
        room = self._small if size <= self._small_at_most else self._large
        try:
            await room.take(size, caller, seconds)
        except TimeoutError as error:
            raise DeadlineExceeded(seconds) from error
        until.callback(room.give_back, size, caller)


def _sizes(requests: list[ForwardRequest], shape: Shape) -> list[int]:
    """Bytes that the outputs of each hold."""
    return [reply_bytes(own.want, len(own.tokens) - 2, shape) for own in requests]


@dataclass(frozen=True, slots=True)
class _Waiting:
    size: int
    caller: str
    turn: asyncio.Future[None]


class _Room:
    """So many bytes, for which callers take turns."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._of: Counter[str] = Counter()
        self._waiting: FairQueue[_Waiting] = FairQueue()

    async def take(self, size: int, caller: str, seconds: float) -> None:
        """Hold so many bytes, `limit` at most, once it is the caller's turn.

        Raises:
            TimeoutError: it was not in so many seconds.
        """
        own = _Waiting(size, caller, asyncio.get_running_loop().create_future())
        place = self._waiting.put(own, caller, size)
        self._next()
        try:
            async with asyncio.timeout(seconds):
                await own.turn
        except BaseException:
            if own.turn.done() and not own.turn.cancelled():
                self.give_back(size, caller)  # it was given in the same moment
            else:
                self._waiting.drop(place, caller)
                self._next()
            raise

    def give_back(self, size: int, caller: str) -> None:
        """Hold them no longer."""
        self.held -= size
        self._of[caller] -= size
        if not self._of[caller]:
            del self._of[caller]
        self._next()

    def _next(self) -> None:
        while own := self._first():
            self.held += own.size
            self._of[own.caller] += own.size
            own.turn.set_result(None)

    def _first(self) -> _Waiting | None:
        """The first in turn who may have what it waits for.

        Nobody passes by one who waits for room; by one who waits until its own replies are sent,
        all others do.
        """
        full = False
        behind_their_own: set[str] = set()

        def suits(own: _Waiting) -> bool:
            nonlocal full
            if full or own.caller in behind_their_own or own.turn.done():  # done: it just left
                return False
            mine = self._of[own.caller]
            if mine and mine + own.size > (self.limit - self.held + mine) / 2:
                behind_their_own.add(own.caller)
                return False
            full = self.held + own.size > self.limit
            return not full

        return self._waiting.pop(suits)
