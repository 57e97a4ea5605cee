"""Callers who hang up: what they asked for is not computed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

Answer = TypeVar("Answer")


class CallerLeft(Exception):
    """The caller closed the connection before there was an answer."""


async def while_present(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await an answer for as long as somebody waits for it.

    Args:
        request: whose body was read to its end.
        work: cancelled when the caller hangs up.

    Raises:
        CallerLeft: the caller hung up first.
    """
    answer = asyncio.create_task(work)
    departure = asyncio.create_task(_departure(request))
    try:
        await asyncio.wait({answer, departure}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise CallerLeft
        return answer.result()
    finally:
        answer.cancel()
        departure.cancel()


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
