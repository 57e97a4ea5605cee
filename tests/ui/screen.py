"""A page in a real Chromium, and what must be true of it whatever a test does with it.

    screen.look("MKT..."); screen.point("contacts", 3, 9); screen.tooltip

Nothing may be asked of another origin, and nothing may be said on the console but that a request
was refused, which browsers say by themselves.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.wire.server import Server

#: Milliseconds until the page must have done what it was told.
PATIENCE = 60_000
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
# Those after the first: on a machine without a network, Chromium looks for its maker's hosts.
_FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")

#: The plot of a figure lies between these (ui/src/axis.ts, dense-matrix.ts).
GUTTER, EDGE, TOP, BOTTOM = 68, 14, 2, 18


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; the test is skipped where there is none."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Screen:
    """One page of a server, in a context of its own.

    Attributes:
        page: Playwright's.
        complaints: what was said on the console, thrown, or asked of others.
    """

    def __init__(self, browser: Browser, server: Server, path: str = "/", **context: Any) -> None:
        self.server = server
        self.complaints: list[str] = []
        self._context = browser.new_context(
            **{"viewport": {"width": 1100, "height": 900}, **context}
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._see)
        self.page.goto(f"{server.url}{path}")
        self.page.wait_for_selector("main > *")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _REFUSED.match(message.text):
            self.complaints.append(message.text)

    def _see(self, request: Request) -> None:
        if not request.url.startswith((f"{self.server.url}/", "data:", "blob:")):
            self.complaints.append(f"asked {request.url}")

    def close(self) -> None:
        self._context.close()

    # --- doing ---------------------------------------------------------------------------------

    def look(self, text: str, *, model: str = "") -> None:
        """Paste something and wait for its figures."""
        self.submit(text, model=model)
        self.page.wait_for_selector("protein-view .summary")
        self.settle()

    def submit(self, text: str, *, model: str = "") -> None:
        """Paste something and send it."""
        if model:
            self.choose(model)
        self.page.get_by_label("Protein sequence").fill(text)
        self.page.get_by_role("button", name="Look", exact=True).click()

    def choose(self, model: str) -> None:
        self.page.locator("#model").select_option(model)

    def settle(self) -> None:
        """Wait until what was asked for is drawn: Nightingale draws in a later frame."""
        self.page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame("
            "() => setTimeout(done, 50))))"
        )

    def place(self, figure: str, row: float, column: float) -> dict[str, float]:
        """Where a cell is within the canvas of a figure; both counted from 0, whole axis shown."""
        canvas = self.page.locator(f"#{figure} dense-matrix canvas")
        box = canvas.bounding_box()
        assert box
        matrix = f"document.querySelector('#{figure} dense-matrix').matrix"
        rows, columns = self.page.evaluate(f"[{matrix}.rows, {matrix}.columns]")
        width, height = box["width"] - GUTTER - EDGE, box["height"] - TOP - BOTTOM
        return {
            "x": GUTTER + (column + 0.5) / columns * width,
            "y": TOP + (row + 0.5) / rows * height,
        }

    def point(self, figure: str, row: float, column: float) -> str:
        """Hover over a cell; what the tooltip says."""
        at: Any = self.place(figure, row, column)
        self.page.locator(f"#{figure} dense-matrix canvas").hover(position=at)
        return self.tooltip

    def click(self, figure: str, row: float, column: float) -> None:
        at: Any = self.place(figure, row, column)
        self.page.locator(f"#{figure} dense-matrix canvas").click(position=at)

    # --- seeing --------------------------------------------------------------------------------

    @property
    def tooltip(self) -> str:
        tip = self.page.locator("#tip:visible")
        tip.wait_for()
        return tip.inner_text()

    @property
    def problem(self) -> str:
        said = self.page.get_by_role("alert")
        said.wait_for()
        return said.inner_text()

    def table(self, figure: str) -> list[list[str]]:
        """The table of a figure, opened; its header first."""
        self.page.locator(f"#{figure} summary").click()
        self.page.wait_for_selector(f"#{figure} table")
        rows = f"[...document.querySelectorAll('#{figure} tr')]"
        return self.page.evaluate(f"{rows}.map(row => [...row.cells].map(cell => cell.innerText))")

    def downloaded(self, figure: str, kind: str) -> tuple[str, bytes]:
        """Press a figure's button; name and content of the file."""
        with self.page.expect_download() as waiting:
            self.page.locator(f"#{figure}").get_by_role("button", name=f"as {kind}").click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def csv(self, figure: str) -> list[dict[str, str]]:
        _, content = self.downloaded(figure, "CSV")
        return list(csv.DictReader(io.StringIO(content.decode())))
