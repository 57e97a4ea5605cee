"""Results kept for who asks the same again: bounded by bytes, the least recently used go first.

    key = hash of (weights, dtype, kernel, tokens, outputs wanted)  ->  Outputs

What comes out is what went in, bit for bit. In this process's memory, or in Redis or Valkey for
several servers together; a cache that does not answer is as good as an empty one.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol
from zipfile import BadZipFile

import numpy as np

from esm2.errors import MissingExtra, SettingsError
from esm2.types import WHOLE, Decided, ForwardRequest, Outputs

if TYPE_CHECKING:
    from redis.asyncio import Redis

_log = logging.getLogger("esm2.cache")

_FORMAT = b"esm2 cache 1"

_PATIENCE = 0.5  # seconds for one question to Redis
_PAUSE = 5.0  # seconds until Redis is asked again that did not answer
_KEPT = 7 * 24 * 3600  # seconds in Redis, which also drops what it has no room for


class Cache(Protocol):
    """Where results are kept. Used on one event loop."""

    async def get(self, key: bytes) -> Outputs | None:
        """What was kept, if it still is."""

    async def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep outputs; they must not be changed from now on."""

    async def close(self) -> None:
        """Let go of everything."""


def key_of(request: ForwardRequest, decided: Decided) -> bytes:
    """What a result depends on, and nothing else."""
    want = request.want
    about = (decided.weights_sha256, decided.dtype, decided.kernel, decided.device, want)
    digest = hashlib.sha256(_FORMAT)
    digest.update(repr(about).encode())
    digest.update(request.tokens.tobytes())
    return digest.digest()


def size_of(outputs: Outputs) -> int:
    """Bytes of all arrays."""
    return sum(array.nbytes for _, array in outputs.named())


class MemoryCache:
    """In this process.

    Args:
        limit: bytes of arrays.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, Outputs] = OrderedDict()
        self.held = 0

    async def get(self, key: bytes) -> Outputs | None:
        """What was kept, if it still is."""
        outputs = self._kept.get(key)
        if outputs is not None:
            self._kept.move_to_end(key)
        return outputs

    async def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep outputs that are smaller than the whole; the oldest make room."""
        size = size_of(outputs)
        if key in self._kept or size > self._limit:
            return
        for _, array in outputs.named():
            array.setflags(write=False)  # it is everyone's from now on
        self._kept[key] = outputs
        self.held += size
        while self.held > self._limit:
            _, dropped = self._kept.popitem(last=False)
            self.held -= size_of(dropped)

    async def close(self) -> None:
        """Let go of everything."""
        self._kept.clear()
        self.held = 0


class RedisCache:
    """In Redis or Valkey, whose `maxmemory` bounds it; its policy should be allkeys-lru.

    Args:
        url: redis://host:port/database.
        limit: bytes of one result, beyond which it is not sent there.

    Raises:
        SettingsError: it is no such URL.
        MissingExtra: the redis package is not installed.
    """

    def __init__(self, url: str, limit: int) -> None:
        try:
            from redis.asyncio import Redis
            from redis.exceptions import RedisError
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "redis", "redis") from error
        self._errors = RedisError
        self._limit = limit
        self._not_before = 0.0
        try:
            self._redis: Redis = Redis.from_url(
                url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE
            )
        except ValueError as error:  # the sentence must not show the URL: it can hold a password
            raise SettingsError("it must be redis://HOST:PORT/DATABASE", "cache_url") from error

    async def get(self, key: bytes) -> Outputs | None:
        """What was kept, if it still is."""
        if time.monotonic() < self._not_before:
            return None
        try:
            content = await self._redis.get(_name(key))
        except self._errors as error:
            self._gone(error)
            return None
        self._back()
        return _unpacked(content) if isinstance(content, bytes) else None

    async def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep outputs that are small enough."""
        if time.monotonic() < self._not_before or size_of(outputs) > self._limit:
            return
        try:
            await self._redis.set(_name(key), _packed(outputs), ex=_KEPT)
        except self._errors as error:
            self._gone(error)

    async def close(self) -> None:
        """Close the connections; what is there stays."""
        await self._redis.aclose()

    def _gone(self, error: Exception) -> None:
        if not self._not_before:
            kind = type(error).__name__
            _log.warning("the cache does not answer (%s): everything is computed", kind)
        self._not_before = time.monotonic() + _PAUSE

    def _back(self) -> None:
        if self._not_before:
            _log.warning("the cache answers again")
        self._not_before = 0.0


def _name(key: bytes) -> str:
    return f"esm2:{key.hex()}"


def _packed(outputs: Outputs) -> bytes:
    file = io.BytesIO()
    np.savez(file, **dict(outputs.named()))  # type: ignore[arg-type]  # no name is its keyword
    return file.getvalue()


def _unpacked(content: bytes) -> Outputs | None:
    """Outputs; None where somebody else wrote there."""
    outputs = Outputs()
    whole = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            for name in archive.files:
                kind, _, layer = name.partition(".")
                if layer:
                    getattr(outputs, kind)[int(layer)] = archive[name]
                else:
                    whole[kind] = archive[name]
    except (ValueError, OSError, EOFError, BadZipFile, AttributeError, TypeError):
        return None
    if not set(whole) <= set(WHOLE):
        return None
    return Outputs(outputs.mean, outputs.per_token, outputs.bos, **whole)
