"""Callers who hang up, and a server that does: what one side began, the other is not left with."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from esm2.errors import ShuttingDown
from esm2.server.encoding import json_response

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


class CutOff:
    """Middleware: a request that the end of the grace time cancels is told so, with 503."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if not begun:
                error = ShuttingDown()
                body = {"error": str(error), "code": error.code}
                await json_response(body, 503)(scope, receive, send)
