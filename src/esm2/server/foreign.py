"""Whom a server without tokens answers: this machine, and the pages that it sent itself.

    Host: 127.0.0.1:8000            answered
    Host: evil.example              refused: a page elsewhere whose name now leads here (rebinding)
    Origin: http://evil.example     refused: a page elsewhere has a browser ask us

Browsers send these headers whether a page likes it or not. Programs that are none may write what
they want there, and could ask anyway. With tokens, a page elsewhere has none to show.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from esm2.errors import Esm2Error, ForeignHost, ForeignOrigin
from esm2.hosts import is_loopback
from esm2.server.errors import refusal

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class OwnNames:
    """Middleware that refuses foreign names.

    Args:
        hosts: names beside those of loopback.
        origins: of pages elsewhere that may ask.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._refused(Headers(scope=scope)) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
            return
        scope["state"]["code"] = error.code
        await refusal(error, scope["path"])(scope, receive, send)

    def _refused(self, headers: Headers) -> Esm2Error | None:
        authority = headers.get("host")
        if authority is None:  # HTTP/1.0, which no browser speaks
            return None
        name = _name(authority)
        if not is_loopback(name.strip("[]")) and name not in self._hosts:
            return ForeignHost(name)
        origin = headers.get("origin", "").lower()
        if origin and origin not in self._origins and not _same(origin, authority.lower()):
            return ForeignOrigin(origin)
        return None


def _name(authority: str) -> str:
    """The host of "host:port", in lower case."""
    host, _, port = authority.lower().rpartition(":")
    return host if host and port.isdigit() else authority.lower()


def _same(origin: str, authority: str) -> bool:
    """Whether a page is of the host that it asks; a proxy may have taken off TLS in between."""
    scheme, _, own = origin.partition("://")
    return own == authority.removesuffix(_DEFAULT_PORTS.get(scheme, ""))
