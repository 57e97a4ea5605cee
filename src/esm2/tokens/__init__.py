"""API tokens: who may ask what, and how much.

    esm2_<43 random characters>        shown once; only its SHA-256 is kept

The secret has 256 random bits, so nobody finds it from its hash, and a slow hash or a salt would
protect nothing more. The prefix lets secret scanners recognise one that was pasted somewhere.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

#: What a token can be good for.
SCOPES = ("encode", "predict", "log_prob", "score", "scan", "pll", "metrics")

_PREFIX = "esm2_"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        id: what turns, budgets and usage are counted by; never made of what a caller can choose.
        name: for people, logs and metrics.
        scopes: what may be asked; None for everything.
        residues_per_minute: budget; None for no bound.
    """

    id: str
    name: str
    scopes: frozenset[str] | None = None
    residues_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token; all times are UTC.

    Attributes:
        id: number in its database.
        name: unique among those that are not revoked.
        prefix: the first characters of the secret, to recognise it by.
        scopes: what it is good for; empty for everything.
        residues_per_minute: budget; None for no bound.
        created, expires, revoked, used: when; None for never.
    """

    id: int
    name: str
    prefix: str
    scopes: tuple[str, ...]
    residues_per_minute: int | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    used: datetime | None

    @property
    def caller(self) -> Caller:
        """Whom it lets in."""
        scopes = frozenset(self.scopes) if self.scopes else None
        return Caller(f"token {self.id}", self.name, scopes, self.residues_per_minute)

    def state(self, now: datetime) -> str:
        """ "good", or what it is not good for any more: "revoked on ...", "expired on ..."."""
        if self.revoked is not None:
            return f"revoked on {self.revoked:%Y-%m-%d}"
        if self.expires is not None and self.expires <= now:
            return f"expired on {self.expires:%Y-%m-%d}"
        return "good"


def new_secret() -> str:
    """A secret that was never seen before."""
    return _PREFIX + secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    """What is kept of a secret: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def now() -> datetime:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
