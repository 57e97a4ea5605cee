"""The page: how long a person waits, what is transferred, and its pictures.

Protocol. `esm2 serve` with esm2-demo and Debian's Chromium, headless, on this machine.

    response     from the click on Look until every figure has been drawn and the browser is idle
                 for a frame; medians of `ROUNDS` after one that does not count
    matrix       a 1,000 x 1,000 matrix of random numbers: colouring and drawing it for the first
                 time, and drawing a part of it (zoomed), the canvas read back so that it is done
    transfer     bytes of everything the page loads, as the server sends them

    python -m benchmarks.page               writes benchmarks/results/page.json
    python -m benchmarks.page --pictures    draws docs/pictures/page-*.png anew
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Browser

from benchmarks.speed import machine
from esm2.alphabet import AMINO_ACIDS
from tests.ui.screen import Screen, chromium
from tests.wire.server import Server, serving

RESULT = machine.ROOT / "benchmarks/results/page.json"
PICTURES = machine.ROOT / "docs/pictures"
LENGTHS = (60, 300, 1000, 2000)
ROUNDS = 9

_LOOK = """async () => {
  const begun = performance.now();
  document.querySelector("button.primary").click();
  const before = document.querySelector("protein-view")?.view;
  while (true) {
    await new Promise(done => requestAnimationFrame(done));
    const own = document.querySelector("protein-view");
    const canvas = document.querySelector("#contacts canvas");
    if (own && own.view !== before && canvas && canvas.width > 300) break;
  }
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - begun;
}"""

_MATRIX = """async () => {
  const own = document.querySelector("#contacts dense-matrix");
  const drawn = () => own.querySelector("canvas").getContext("2d").getImageData(200, 200, 1, 1);
  const timed = async (change) => {
    const begun = performance.now();
    change();
    await own.updateComplete;
    drawn();
    return performance.now() - begun;
  };
  const values = Float32Array.from({ length: 1e6 }, Math.random);
  own.length = 1000;
  const first = await timed(() => (own.matrix = { rows: 1000, columns: 1000, values }));
  const zoomed = await timed(() => (own.start = 1 + (own.start || 1) % 400));
  return [first, zoomed];
}"""


def main() -> int:
    with serving("--model=esm2-demo") as server, chromium() as browser:
        if "--pictures" in sys.argv:
            pictures(browser, server)
            return 0
        result = {
            "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "machine": machine.identity()["cpu"],
            "cores": machine.cores(),
            "browser": f"Chromium {browser.version}",
            "command": "python -m benchmarks.page",
            "response_ms": {str(length): response(browser, server, length) for length in LENGTHS},
            "matrix_1000_ms": matrix(browser, server),
            "transferred_bytes": transferred(server),
        }
    print(json.dumps(result, indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def protein(length: int) -> str:
    return "".join(random.Random(7).choices(AMINO_ACIDS, k=length))


def response(browser: Browser, server: Server, length: int) -> float:
    screen = Screen(browser, server)
    screen.page.get_by_label("Protein sequence").fill(protein(length))
    _, *rounds = [screen.page.evaluate(_LOOK) for _ in range(ROUNDS + 1)]
    screen.close()
    return round(statistics.median(rounds), 1)


def matrix(browser: Browser, server: Server) -> dict[str, float]:
    screen = Screen(browser, server)
    screen.look(protein(1000))
    rounds = [screen.page.evaluate(_MATRIX) for _ in range(ROUNDS)]
    screen.close()
    first, zoomed = (round(statistics.median(own), 1) for own in zip(*rounds, strict=True))
    return {"first": first, "zoomed": zoomed}


def transferred(server: Server) -> int:
    headers = {"Accept": "text/html", "Accept-Encoding": "gzip"}
    paths = ("/", "/ui/app.js", "/ui/app.css", "/ui/icon.svg")
    return sum(len(server.request("GET", path, headers=headers).body) for path in paths)


def pictures(browser: Browser, server: Server) -> None:
    """Three pictures of what a user sees first, for the documentation."""
    shots: dict[str, tuple[str, str, Callable[[Screen], Any]]] = {
        "page-figures": ("light", "Ubiquitin", substitutions),
        "page-masked": ("dark", "H-Ras", masked),
        "page-contacts": ("light", "Ubiquitin", contacts),
    }
    for name, (scheme, example, do) in shots.items():
        screen = Screen(browser, server, color_scheme=scheme)
        screen.page.get_by_role("button", name=example).click()
        screen.page.wait_for_selector("protein-view .summary")
        screen.settle()
        do(screen)
        screen.settle()
        screen.page.screenshot(path=PICTURES / f"{name}.png")
        screen.close()


def masked(screen: Screen) -> None:
    screen.page.get_by_label("to", exact=True).fill("60")
    screen.page.get_by_label("to", exact=True).press("Enter")
    screen.page.get_by_label("residue", exact=True).fill("15")
    screen.page.get_by_role("button", name="mask", exact=True).click()
    screen.page.wait_for_selector("#filled")
    top(screen, "#logo")


def substitutions(screen: Screen) -> None:
    top(screen, "#logo")
    screen.point("scan", 6, 40)


def contacts(screen: Screen) -> None:
    top(screen, "#contacts")
    screen.point("contacts", 29, 35)


def top(screen: Screen, selector: str) -> None:
    """Scroll something up to below the bar that stays."""
    screen.page.locator(selector).evaluate("own => own.scrollIntoView()")


def tables() -> str:
    """The figures as docs/page.md has them."""
    own = json.loads(RESULT.read_text())
    waits = "; ".join(f"{length}: {ms / 1000:.2f} s" for length, ms in own["response_ms"].items())
    first, zoomed = own["matrix_1000_ms"]["first"], own["matrix_1000_ms"]["zoomed"]
    return (
        f"Measured ({own['machine']}, {own['cores']} cores, {own['browser']} on the same machine,"
        f" {own['when']}, `{own['command']}`):\n\n"
        "| | |\n|---|---|\n"
        f"| from the click to all figures, esm2-demo, by residues | {waits} |\n"
        f"| 1,000 x 1,000 cells, first drawn; a part of them | {first:.0f} ms; {zoomed:.0f} ms |\n"
        f"| transferred, compressed | {own['transferred_bytes'] / 1000:.0f} kB |\n"
    )


if __name__ == "__main__":
    sys.exit(main())
