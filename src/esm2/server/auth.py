"""Tokens: who may ask, and what.

    Authorization: Token <secret>     every BioLM client
    Authorization: Bearer <secret>    OAuth users
    Cookie: access=<secret>;refresh=..   BioLM's SDKs after `biolmai login`

Without tokens the server is open, and `settings.py` has made sure that it listens on loopback.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from fastapi import Request

from esm2.errors import Forbidden, Unauthenticated
from esm2.tokens import Caller
from esm2.tokens.book import TokenBook

_SCHEMES = ("token", "bearer")


class Gate:
    """Lets callers in who show one of the tokens. Only hashes of the tokens are kept.

    Args:
        tokens: of the settings; good for everything.
        book: of the token database, where there is one.
    """

    def __init__(self, tokens: Iterable[str], book: TokenBook | None = None) -> None:
        self._callers = [
            (_hash(token), Caller(f"setting {number}", "ESM2_TOKENS"))
            for number, token in enumerate(tokens)
        ]
        self._book = book

    async def __call__(self, request: Request) -> None:
        """Check a request and note who asks; a dependency of the routes that need it.

        Raises:
            Unauthenticated: no token, or one that lets nobody in.
            TokensUnavailable: it cannot be known.
        """
        request.state.caller = self._caller(request)

    def _caller(self, request: Request) -> Caller:
        if not self._callers and self._book is None:
            address = request.client.host if request.client else ""
            return Caller(f"address {address}", "anonymous")
        shown = _shown(request)
        if shown is None:
            foreign = " (the header Authorization says neither Token nor Bearer)"
            raise Unauthenticated(
                "Authentication credentials were not provided"
                f"{foreign * ('authorization' in request.headers)}; send the header"
                " 'Authorization: Token YOUR_TOKEN'"
            )
        digest = _hash(shown)
        # Every token is compared, each in constant time: the time taken tells nothing.
        known = [caller for own, caller in self._callers if hmac.compare_digest(digest, own)]
        if known:
            return known[0]
        if self._book is not None:
            return self._book.caller(shown)
        raise Unauthenticated("Invalid token; ask whoever runs this server for a valid one")


def permitted(request: Request, scope: str) -> Caller:
    """Who asks, if what is asked is within the scopes.

    Raises:
        Forbidden: it is not.
    """
    caller: Caller = request.state.caller
    if caller.scopes is not None and scope not in caller.scopes:
        raise Forbidden(scope, caller.scopes)
    return caller


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _shown(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        # The SDKs write no space after the semicolon, which the cookie parser takes as it is.
        return request.cookies.get("access")
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() in _SCHEMES else None
