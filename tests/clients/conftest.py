"""One server, every client once, and the table of what came of it.

`pytest tests/clients --write-table` writes docs/clients.md; without the flag it is compared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import esm2
from tests.clients.cases import SLUG, TOKEN
from tests.clients.network import listening
from tests.clients.roster import Client, User
from tests.clients.session import Session
from tests.clients.table import Table
from tests.clients.tap import tapping
from tests.wire.server import Server, serving


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write docs/clients.md")


@pytest.fixture(scope="session")
def checkpoint(reference) -> Path:
    """A checkpoint of the shape of the official 8M."""
    return reference("8m").directory


@pytest.fixture(scope="session")
def server(checkpoint) -> Iterator[Server]:
    with serving(f"--model={SLUG}={checkpoint}", tokens=TOKEN) as server:
        yield server
        status, stderr = server.stop()
    assert status == 0
    assert "Traceback" not in stderr


@pytest.fixture(scope="session")
def model(checkpoint) -> Iterator[esm2.Model]:
    """The same model in this process."""
    with esm2.load(f"{SLUG}={checkpoint}", device="cpu") as model:
        yield model


@pytest.fixture(scope="session")
def table() -> Table:
    return Table()


@pytest.fixture(scope="session")
def session(server, tmp_path_factory) -> Iterator[Callable[[Client], Session]]:
    """What a client asked and reported; it is run once, when first asked about."""
    with ExitStack() as stack:

        @functools.cache
        def ran(client: Client) -> Session | str | Exception:
            if client.missing():
                return client.missing()
            try:
                socket, before = stack.enter_context(listening(client.port))
            except OSError as error:
                return f"it speaks to localhost:{client.port} only: {error}"
            tap = stack.enter_context(tapping(server.address, socket))
            user = User(tmp_path_factory.mktemp("home"), tap.url, before)
            try:
                return Session(client, tap, user, client.reports(user))
            except Exception as error:  # once is enough to know
                return error

        def session(client: Client) -> Session:
            found = ran(client)
            if isinstance(found, Exception):
                raise found
            if isinstance(found, str):
                pytest.skip(f"{client.name}: {found}")
            return found

        yield session
