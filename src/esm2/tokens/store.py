"""The tokens of a database: SQLite in a file, or PostgreSQL.

One table, made when it is first needed. Nothing in it can be used as a token.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from esm2.errors import MissingExtra, SettingsError, TokensUnavailable
from esm2.tokens import SCOPES, Token, hashed, new_secret, now

_SHOWN = 10  # characters of a secret that are kept, for people; the rest has 224 bits
# Seconds for a connection, for another process to finish writing, or for PostgreSQL's answer.
_PATIENCE = 5

_METADATA = sql.MetaData()
_TOKENS = sql.Table(
    "esm2_tokens",
    _METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("name", sql.String(200), nullable=False),
    # The name as long as the token is not revoked: so names are unique among those.
    sql.Column("holds_name", sql.String(200), unique=True),
    sql.Column("hash", sql.String(64), nullable=False, unique=True),
    sql.Column("prefix", sql.String(20), nullable=False),
    sql.Column("scopes", sql.String(400), nullable=False),
    sql.Column("residues_per_minute", sql.BigInteger),
    sql.Column("created", sql.DateTime, nullable=False),
    sql.Column("expires", sql.DateTime),
    sql.Column("revoked", sql.DateTime),
    sql.Column("used", sql.DateTime),
)


class TokenStore:
    """Tokens in a database. May be used from several threads and processes at once.

    Args:
        url: "sqlite:///path" or "postgresql+psycopg://user:password@host/database".

    Raises:
        SettingsError: it is no such URL.
        MissingExtra: its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            where = sql.make_url(url)
            if where.drivername == "postgresql":
                where = where.set(drivername="postgresql+psycopg")
            backend = where.get_backend_name()
            if backend not in ("sqlite", "postgresql"):
                raise SettingsError(
                    f"tokens cannot be kept in {backend}: use sqlite or postgresql",
                    "token_database",
                )
            self._over_network = backend == "postgresql"
            timeout = "connect_timeout" if self._over_network else "timeout"
            file = None if self._over_network or "uri" in where.query else where.database
            self._file = Path(file) if file else None
            self._engine = sql.create_engine(
                where, connect_args={timeout: _PATIENCE}, pool_pre_ping=True, hide_parameters=True
            )
            self._connections: WeakSet[Any] = WeakSet()
            if self._over_network:
                sql.event.listen(self._engine, "connect", self._connected)
        except (ArgumentError, NoSuchModuleError) as error:
            # The sentence must not show the URL: it can hold a password.
            raise SettingsError(
                "the token database is not a URL such as sqlite:////path/tokens.db or"
                " postgresql://user@host/database",
                "token_database",
            ) from error
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "psycopg", "postgres") from error
        self._made = False

    def create(
        self,
        name: str,
        scopes: Collection[str] = (),
        expires: datetime | None = None,
        residues_per_minute: int | None = None,
    ) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: for people; unique among the tokens that are not revoked.
            scopes: what it is good for; empty for everything.

        Returns:
            what is kept of it, and the secret, which is nowhere else.

        Raises:
            SettingsError: a name that is taken, or an unknown scope.
            TokensUnavailable: the database cannot be reached.
        """
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown:
            there_are = ", ".join((*SCOPES, "all"))
            raise SettingsError(f"no scope is called {unknown[0]!r}; there are {there_are}")
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise SettingsError("a token needs a name of 1 to 200 printable characters")
        secret = new_secret()
        row = {
            "name": name,
            "holds_name": name,
            "hash": hashed(secret),
            "prefix": secret[:_SHOWN],
            "scopes": " ".join(sorted(set(scopes))),
            "residues_per_minute": residues_per_minute,
            "created": _naive(now()),
            "expires": _naive(expires),
        }
        with self._open() as connection:
            try:
                found = connection.execute(
                    _TOKENS.insert().values(**row).returning(*_TOKENS.c)
                ).one()
            except IntegrityError as error:
                raise SettingsError(
                    f"there is a token called {name!r} already; revoke it first, or choose another"
                    " name"
                ) from error
        return _token(found), secret

    def revoke(self, which: str) -> Token:
        """Make a token good for nothing, for ever.

        Args:
            which: its name or its id.

        Raises:
            SettingsError: there is none, or it is revoked already.
            TokensUnavailable: the database cannot be reached.
        """
        named = _TOKENS.c.holds_name == which
        number = re.fullmatch(r"[0-9]{1,9}", which)
        numbered = _TOKENS.c.id == int(which) if number else None
        good = _TOKENS.c.revoked.is_(None)
        with self._open() as connection:
            for wanted in (named, numbered):
                if wanted is None:
                    continue
                gone = {"revoked": _naive(now()), "holds_name": None}
                found = connection.execute(
                    _TOKENS.update().where(wanted, good).values(**gone).returning(*_TOKENS.c)
                ).one_or_none()
                if found is not None:
                    return _token(found)
        raise SettingsError(f"no token that is not revoked has the name or the id {which[:80]!r}")

    def all(self) -> list[Token]:
        """Every token there ever was, the oldest first."""
        return [token for _, token in self.hashes()]

    def hashes(self) -> list[tuple[str, Token]]:
        """(hash of the secret, token) of each, the oldest first.

        Raises:
            TokensUnavailable: the database cannot be reached.
        """
        with self._open() as connection:
            rows = connection.execute(_TOKENS.select().order_by(_TOKENS.c.id)).all()
        return [(row.hash, _token(row)) for row in rows]

    def touch(self, ids: Sequence[int], when: datetime) -> None:
        """Note that tokens were used."""
        with self._open() as connection:
            connection.execute(
                _TOKENS.update().where(_TOKENS.c.id.in_(ids)).values(used=_naive(when))
            )

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _open(self) -> Iterator[sql.Connection]:
        try:
            with self._in_time():
                if not self._made:
                    self._make()
                with self._engine.begin() as connection:
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
            raise TokensUnavailable(f"the token database cannot be reached: {reason}") from error

    def _connected(self, connection: Any, _record: object) -> None:
        self._connections.add(connection)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """PostgreSQL that says nothing is gone: its driver would wait for it for ever."""
        if not self._over_network:
            yield
            return
        done = threading.Event()

        def cut() -> None:
            while not done.wait(_PATIENCE):
                for connection in list(self._connections):
                    _hang_up(connection)

        watchdog = threading.Thread(target=cut, name="tokens, in time", daemon=True)
        watchdog.start()
        try:
            yield
        finally:
            done.set()
            watchdog.join()

    def _make(self) -> None:
        if self._file is not None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.touch(mode=0o600)
        try:
            _METADATA.create_all(self._engine)
        except SQLAlchemyError:
            _METADATA.create_all(self._engine)  # another process made it in the same moment
        self._made = True


def _hang_up(connection: Any) -> None:
    """Whoever waits for its answer is told at once that there is none."""
    closed = suppress(OSError, connection.OperationalError)
    with closed, socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


def _naive(when: datetime | None) -> datetime | None:
    """UTC without saying so: SQLite keeps no time zones."""
    return None if when is None else when.astimezone(UTC).replace(tzinfo=None)


def _aware(when: datetime | None) -> datetime | None:
    return None if when is None else when.replace(tzinfo=UTC)


def _token(row: sql.Row) -> Token:  # type: ignore[type-arg]
    created = _aware(row.created)
    assert created is not None
    return Token(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=tuple(row.scopes.split()),
        residues_per_minute=row.residues_per_minute,
        created=created,
        expires=_aware(row.expires),
        revoked=_aware(row.revoked),
        used=_aware(row.used),
    )
