"""Middleware: every request comes to an end, if not by itself.

the grace time of a server that stops is over   503 in the words of the caller's generation
nothing was sent for longer than anything takes 504, or, of a reply that has begun, the end of
                                                its connection
"""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from esm2.errors import DeadlineExceeded, Esm2Error, ShuttingDown
from esm2.server.errors import refusal

_log = logging.getLogger("esm2.server")


class Ending:
    """The middleware.

    Args:
        seconds: in which a request must have come to a reply, and that to its next piece. More
            than all of its parts may take: this is for what should not happen.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        loop = asyncio.get_running_loop()

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)
            watchdog.reschedule(loop.time() + self._seconds)

        error: Esm2Error
        try:
            async with asyncio.timeout(self._seconds) as watchdog:
                await self._app(scope, receive, noted)
            return
        except TimeoutError:
            if not watchdog.expired():
                raise
            _log.error("no answer in %g s, and nothing that ends it: it is cut", self._seconds)
            error = DeadlineExceeded(self._seconds)
        except asyncio.CancelledError:
            error = ShuttingDown()
        scope["state"]["code"] = error.code
        # Of a reply that has begun the rest does not come, so uvicorn ends its connection.
        if not begun:
            request_id = scope["state"]["request_id"]
            await refusal(error, scope["path"], request_id)(scope, receive, send)
