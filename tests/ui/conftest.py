"""One server for the tests of the page, one Chromium a module; each test has a page of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.checkpoints import save_fair_esm
from tests.ui.screen import Screen, chromium
from tests.wire.server import Server, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For a module only: while it is there its event loop runs, and others' asyncio.run refuses."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def server(reference, tmp_path_factory) -> Iterator[Server]:
    """esm2-demo, and a model without a contact head."""
    headless = tmp_path_factory.mktemp("headless") / "headless.pt"
    save_fair_esm(reference("tiny").model, headless, contacts=False)
    with serving("--model=esm2-demo", f"--model=headless={headless}") as server:
        yield server


@pytest.fixture(scope="session")
def guarded() -> Iterator[Server]:
    """With a token."""
    with serving("--max-residues=300", tokens="let-me-in") as server:
        yield server


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Screen]]:
    """Opens pages; at the end, none of them may have complained."""
    opened: list[Screen] = []

    def open_one(server: Server, path: str = "/", **context: Any) -> Screen:
        opened.append(Screen(browser, server, path, **context))
        return opened[-1]

    yield open_one
    complaints = [complaint for screen in opened for complaint in screen.complaints]
    for screen in opened:
        screen.close()
    assert complaints == []


@pytest.fixture
def screen(open_page, server) -> Screen:
    return open_page(server)
