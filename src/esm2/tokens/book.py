"""The tokens of a database as a server sees them: all of them in memory, read anew all the time.

So a request never waits for the database, a token that is created or revoked counts within a
second, and a database that is gone for a minute is not noticed by callers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType

from esm2.errors import TokensUnavailable, Unauthenticated
from esm2.tokens import Caller, Token, hashed, now
from esm2.tokens.store import TokenStore

_log = logging.getLogger("esm2.tokens")

_EVERY = 0.5  # seconds between two readings
_GRACE = 60.0  # seconds that the last reading counts when there is no newer one
_NOTED = 60.0  # seconds between two writings of when tokens were used
_ENDING = 5.0  # seconds to note that a last time


class TokenBook:
    """What a server knows of its tokens.

    The constructor reads them once and starts a thread that goes on.

    Raises:
        TokensUnavailable: the database cannot be reached.
    """

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._tokens: Mapping[str, Token] = MappingProxyType(dict(store.hashes()))
        self._read = time.monotonic()
        self._gone = False
        self._noted = True
        self._used: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tokens", daemon=True)
        self._thread.start()

    def caller(self, secret: str) -> Caller:
        """Whom a secret lets in.

        Found by its hash: nobody can steer the hash of a guess, so the time that it takes to look
        it up tells nothing about other secrets.

        Raises:
            Unauthenticated: it is unknown, revoked or expired.
            TokensUnavailable: it is not known what is, for too long by now.
        """
        if time.monotonic() - self._read > _GRACE:
            raise TokensUnavailable("the token database has been out of reach for over a minute")
        token = self._tokens.get(hashed(secret))
        if token is None:
            raise Unauthenticated("Invalid token; ask whoever runs this server for a valid one")
        state = token.state(now())
        if state != "good":
            raise Unauthenticated(
                f"This token was {state}; ask whoever runs this server for a valid one"
            )
        self._used.add(token.id)
        return token.caller

    def close(self) -> None:
        """Stop following the database."""
        self._stop.set()
        self._thread.join(_ENDING)
        self._store.close()

    def _follow(self) -> None:
        noted = time.monotonic()
        while not self._stop.wait(_EVERY):
            try:
                self._tokens = MappingProxyType(dict(self._store.hashes()))
                self._read = time.monotonic()
            except TokensUnavailable as error:
                if not self._gone:
                    _log.warning("%s; what was read last counts for %.0f s", error, _GRACE)
                self._gone = True
                continue
            if self._gone:
                _log.warning("the token database is back")
            self._gone = False
            if self._read - noted >= _NOTED:
                noted = self._read
                self._note()
        self._note()

    def _note(self) -> None:
        used, self._used = self._used, set()
        if not used:
            return
        try:
            self._store.touch(sorted(used), now())
        except TokensUnavailable as error:
            if self._noted:
                _log.warning("when tokens were last used cannot be noted: %s", error)
            self._noted = False
        else:
            self._noted = True
