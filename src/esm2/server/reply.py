"""Replies on their way: small ones whole, large ones piece by piece, compressed when asked.

A piece is written when the caller has taken the one before it, on the event loop, in a few
milliseconds; in between everybody else has a turn. So a reply of any size takes no memory beside
its arrays and holds nobody up.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import chain

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from esm2.server.negotiation import Coding, Wanted

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_WHOLE = 1 << 18  # bytes, up to which a reply goes out in one
_WORTH_COMPRESSING = 1 << 10  # bytes: less fits into one packet as it is

_GZIP = 16 + zlib.MAX_WBITS
# Digits shrink to 49 % with gzip's first level and to 45 % with zstd's, which takes a fifth of the
# time (docs/performance.md); higher levels take longer than they save on a local network.
_GZIP_LEVEL = 1
_ZSTD_LEVEL = 1


def deliver(
    pieces: Iterator[bytes], how: Wanted, headers: Mapping[str, str], request: Request
) -> Response:
    """A reply of pieces, written as they are sent.

    Args:
        how: its type and its compression, which a small one is not worth.
        request: what is answered; HTTP/1.0 takes no reply whose length is not known.
    """
    sent = {**headers, "Vary": "Accept, Accept-Encoding"}
    media_type = f"{how.media_type};dtype=float16" if how.half else how.media_type
    coding = how.coding
    begun, size = [], 0
    for piece in pieces:
        begun.append(piece)
        size += len(piece)
        if size > _WHOLE and request.scope["http_version"] != "1.0":
            break
    else:
        if coding is None or size < _WORTH_COMPRESSING:
            return Response(b"".join(begun), headers=sent, media_type=media_type)
        sent["Content-Encoding"] = coding
        body = b"".join(_compressed(iter(begun), coding))
        return Response(body, headers=sent, media_type=media_type)
    pieces = chain(begun, pieces)
    if coding is not None:
        sent["Content-Encoding"] = coding
        pieces = _compressed(pieces, coding)
    return StreamingResponse(_in_turn(pieces), headers=sent, media_type=media_type)


async def _in_turn(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)  # sending waits only when the caller is slow


def _compressed(pieces: Iterator[bytes], coding: Coding) -> Iterator[bytes]:
    compress: Callable[[bytes], bytes]
    finish: Callable[[], bytes]
    if coding == "gzip":
        gzip = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
        compress, finish = gzip.compress, gzip.flush
    else:
        stream = zstd.ZstdCompressor(_ZSTD_LEVEL)
        compress, finish = stream.compress, stream.flush
    for piece in pieces:
        if packed := compress(piece):
            yield packed
    yield finish()
