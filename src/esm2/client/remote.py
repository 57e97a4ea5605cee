"""A model of a server, with the two things that the command line needs of a model in this process.

decided   what it is
submit    one request in, a future out; a connection for each, and the server makes packs of them
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from esm2.client import environment
from esm2.client.client import Client
from esm2.errors import Unauthenticated
from esm2.types import Decided, ForwardRequest, Outputs

# Enough proteins of ordinary length to fill two packs of the default size.
_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Remote:
    """As `runtime.Served`, elsewhere."""

    decided: Decided
    submit: Callable[[ForwardRequest], Future[Outputs]]
    executors: int = 1


@contextmanager
def open_remote(url: str, model: str, token: str | None = None) -> Iterator[Remote]:
    """One model of a server.

    Args:
        token: that of the environment unless given, see `environment.py`.

    Raises:
        SettingsError, UnknownModel, ModelNotServed, ServerUnreachable, UnexpectedReply.
        Unauthenticated: also while it is used.
    """
    with Client(url, token or environment.token(), model=model, connections=_CONNECTIONS) as client:
        try:
            yield Remote(client.decided, client.submit)
        except Unauthenticated as error:
            said = error.__cause__ or error  # the server's own sentence
            told = f"{said} (here: --token, or the variable {environment.TOKEN})"
            raise Unauthenticated(told) from error
