"""Requests that are rewritten before anything looks at them.

    HEAD /info           ->  GET /info, answered without content
    Accept: A            ->  Accept: A, B
    Accept: B
    GET /esm2/docs       ->  GET /docs, where a proxy leaves its --root-path /esm2 in front

Every address that we give away is relative, so nothing else has to know of a root path.
"""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LISTS = (b"accept", b"accept-encoding", b"cache-control", b"if-none-match")


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


class Joined:
    """Middleware: several lines of a header that is a list are one list (RFC 9110, 5.3)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for name in _LISTS:
                lines = [value for key, value in scope["headers"] if key == name]
                if len(lines) > 1:
                    others = [pair for pair in scope["headers"] if pair[0] != name]
                    scope["headers"] = [*others, (name, b", ".join(lines))]
        await self._app(scope, receive, send)


class Below:
    """Middleware: an address is the same with and without a root path in front.

    A page at the root path itself is sent on to where its relative addresses are right.

    Args:
        root: such as "/esm2".
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == self._root and scope["method"] == "GET":
            last = self._root.rpartition("/")[2]
            await RedirectResponse(f"{last}/")(scope, receive, send)
            return
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._root}/"):
            scope["path"] = scope["path"][len(self._root) :] or "/"
            scope["raw_path"] = scope["raw_path"][len(self._root) :] or b"/"
        await self._app(scope, receive, send)
