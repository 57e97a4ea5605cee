"""`esm2 token`: API tokens of a database, for `esm2 serve --token-database`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esm2 import settings
from esm2.errors import MissingExtra, SettingsError

if TYPE_CHECKING:
    from esm2.tokens.store import TokenStore

app = typer.Typer(
    no_args_is_help=True,
    help="API tokens, kept hashed in a database: create, list, revoke. A running server follows"
    " within a second.",
    rich_markup_mode=None,
)

Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="sqlite:////path/tokens.db or postgresql://user@host/database [default:"
        " ESM2_TOKEN_DATABASE, or a file of your own]",
    ),
]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="for whom or what it is")],
    scope: Annotated[
        str,
        typer.Option(
            help="encode, predict, log_prob, score, scan, pll, metrics, by commas; or all"
        ),
    ] = "all",
    expires: Annotated[
        str | None, typer.Option(help="days from now, as 90d, or the last day, as 2027-01-31")
    ] = None,
    residues_per_minute: Annotated[
        int | None, typer.Option(min=1, help="budget, counted over all its requests")
    ] = None,
    database: Database = None,
) -> None:
    """Make a token and print it, once: it is kept nowhere."""
    parts = [part.strip() for part in scope.split(",")]
    scopes = [] if "all" in parts else parts
    until = None if expires is None else _until(expires)
    store, where = _open(database)
    token, secret = store.create(name, scopes, until, residues_per_minute)
    print(secret, flush=True)
    typer.echo(
        f"esm2: token {token.id} ({token.name}) is in {where}; a server opens to it with"
        " --token-database. It is not shown again.",
        err=True,
    )


@app.command("list")
def list_tokens(database: Database = None) -> None:
    """List the tokens, tab-separated: what they are good for, until when, when last used."""
    from esm2.tokens import now

    tokens = list(_open(database)[0].all())
    columns = ("id", "name", "begins", "scopes", "residues/min", "created", "expires", "used")
    print("\t".join((*columns, "state")))
    for token in tokens:
        cells = (
            str(token.id),
            token.name,
            token.prefix,
            ",".join(token.scopes) or "all",
            "any" if token.residues_per_minute is None else str(token.residues_per_minute),
            *(_day(when) for when in (token.created, token.expires, token.used)),
            token.state(now()),
        )
        print("\t".join(cells))


@app.command("revoke")
def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="as `esm2 token list` has it")],
    database: Database = None,
) -> None:
    """Make a token good for nothing, for ever."""
    token = _open(database)[0].revoke(which)
    typer.echo(f"esm2: token {token.id} ({token.name}) is revoked", err=True)


def _open(url: str | None) -> tuple[TokenStore, str]:
    """The database, and how to speak of it: without a password."""
    try:
        from esm2.tokens.store import TokenStore
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "sqlalchemy", "server", alone=True) from error
    url = settings.token_database(url) or _own()
    shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:...@", url)
    return TokenStore(url), shown


def _own() -> str:
    return f"sqlite:///{Path.home() / '.local/share/esm2/tokens.db'}"


def _until(text: str) -> datetime:
    now = datetime.now(UTC)
    if days := re.fullmatch(r"(\d{1,5})d", text):
        end = now + timedelta(days=int(days[1]))
    else:
        try:
            last = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError as error:
            raise SettingsError(
                f"--expires {text[:40]!r} is neither days, as 90d, nor a day, as 2027-01-31"
            ) from error
        end = last + timedelta(days=1)
    if end <= now:
        raise SettingsError(f"--expires {text} is over: such a token would let nobody in")
    return end


def _day(when: datetime | None) -> str:
    return "never" if when is None else f"{when:%Y-%m-%d}"
