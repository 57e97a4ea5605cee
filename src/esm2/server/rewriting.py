"""Requests that are rewritten before anything looks at them.

    HEAD /info           ->  GET /info, answered without content
    GET /esm2/docs       ->  GET /docs, where a proxy leaves its --root-path /esm2 in front

Every address that we give away is relative, so nothing else has to know of a root path.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """Middleware: every address that answers GET answers HEAD (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        scope["method"] = "GET"
        await self._app(scope, receive, bare)


class Below:
    """Middleware: an address is the same with and without a root path in front.

    Args:
        root: such as "/esm2".
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._root}/"):
            scope["path"] = scope["path"][len(self._root) :] or "/"
            scope["raw_path"] = scope["raw_path"][len(self._root) :] or b"/"
        await self._app(scope, receive, send)
