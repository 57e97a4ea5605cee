"""Budgets: how many residues a token may ask for in a minute.

Counted in a sliding window (this minute, and of the one before the share that is less than a minute
ago) by the token's id, never by anything that a caller can choose; in
memory, or in Redis or Valkey for several servers together. When Redis is gone, each server counts
for itself until it is back.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from esm2.errors import BeyondBudget, MissingExtra, RateLimited, SettingsError
from esm2.tokens import Caller

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

_log = logging.getLogger("esm2.tokens")

_PATIENCE = 0.5  # seconds for one question to Redis
_PAUSE = 5.0  # seconds until Redis is asked again that did not answer
_MINUTE = 60.0


class Rates:
    """What callers have asked for in the last minute. Used on one event loop.

    Args:
        url: "memory://", or "redis://host:port/0".

    Raises:
        SettingsError: it is no such URL.
        MissingExtra: the redis package is not installed.
    """

    def __init__(self, url: str) -> None:
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._pool: ConnectionPool | None = None
        self._not_before = 0.0
        scheme, given, _ = url.partition("://")
        if scheme == "memory" and given:
            return
        if scheme not in ("redis", "rediss", "redis+unix") or not given:
            raise SettingsError(
                "limits_storage must be memory:// or redis://HOST:PORT/DATABASE", "limits_storage"
            )
        try:
            from redis.asyncio import ConnectionPool
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "redis", "redis") from error
        pool = ConnectionPool.from_url(
            url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE
        )
        storage = RedisStorage(
            f"async+{url}",
            connection_pool=pool,  # type: ignore[arg-type]  # documented, not in its signature
            implementation="redispy",
            wrap_exceptions=True,
        )
        self._pool = pool
        self._shared = SlidingWindowCounterRateLimiter(storage)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def charge(self, caller: Caller, residues: int) -> None:
        """Count what a caller asks for.

        Raises:
            BeyondBudget: it is more than a whole minute's budget, so it could never pass.
            RateLimited: the budget of the last minute is used up; nothing was counted.
        """
        budget = caller.residues_per_minute
        if budget is None:
            return
        if residues > budget:
            raise BeyondBudget(residues, budget)
        await self._count(RateLimitItemPerMinute(budget), caller, residues)

    async def give_back(self, caller: Caller, residues: int) -> None:
        """Count less: residues that were charged, and not computed."""
        budget = caller.residues_per_minute
        if budget is not None and residues:
            await self._count(RateLimitItemPerMinute(budget), caller, -residues)

    async def _count(self, item: RateLimitItem, caller: Caller, residues: int) -> None:
        if self._shared is not None and time.monotonic() >= self._not_before:
            try:
                await _charge(self._shared, item, caller, residues)
            except StorageError as error:
                if not self._not_before:
                    cause = type(error.storage_error).__name__
                    _log.warning("Redis does not answer (%s): budgets are counted here", cause)
                self._not_before = time.monotonic() + _PAUSE
            else:
                if self._not_before:
                    _log.warning("Redis answers again: budgets are counted there")
                self._not_before = 0.0
                return
        await _charge(self._own, item, caller, residues)


async def _charge(
    limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, caller: Caller, residues: int
) -> None:
    if await limiter.hit(item, caller.id, cost=residues):
        return
    storage = limiter.storage
    assert hasattr(storage, "get_sliding_window")
    window = await storage.get_sliding_window(item.key_for(caller.id), item.get_expiry())
    before, left, current, kept = (float(number) for number in window[:4])
    until = kept - _MINUTE  # a window is kept for one minute more, as the one before
    room = item.amount - residues
    raise RateLimited(item.amount, max(1, math.ceil(_seconds(before, left, current, until, room))))


def _seconds(before: float, left: float, current: float, until: float, room: float) -> float:
    """When the weighted count of the sliding window has come down to `room`.

    Args:
        before: count of the window before, which still weighs `left` / 60.
        current: count of this window, which ends in `until` seconds.
    """
    if current <= room:
        return left - (room - current) * _MINUTE / before if before else 0.0
    return until + _MINUTE * (1 - room / current)
