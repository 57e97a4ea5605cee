"""Tokens: who may ask.

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

from esm2.errors import Unauthenticated

_SCHEMES = ("token", "bearer")


class Gate:
    """Lets callers in who show one of the tokens. Only hashes of the tokens are kept."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._hashes = tuple(_hash(token) for token in tokens)

    async def __call__(self, request: Request) -> None:
        """Check a request; a dependency of the routes that need it.

        Raises:
            Unauthenticated: no token, or an unknown one.
        """
        if not self._hashes:
            return
        shown = _shown(request)
        if shown is None:
            raise Unauthenticated(
                "Authentication credentials were not provided; send the header"
                " 'Authorization: Token YOUR_TOKEN'"
            )
        digest = _hash(shown)
        # Every token is compared, each in constant time: the time taken tells nothing.
        if not sum(hmac.compare_digest(digest, known) for known in self._hashes):
            raise Unauthenticated("Invalid token; ask whoever runs this server for a valid one")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _shown(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        # The SDKs write no space after the semicolon, which the cookie parser takes as it is.
        return request.cookies.get("access")
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() in _SCHEMES else None
