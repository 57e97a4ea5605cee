"""For everyone: keyboard, screen reader, phone, light and dark; checked by axe, too."""

from __future__ import annotations

from pathlib import Path

import pytest

AXE = Path(__file__).parents[2] / "ui/node_modules/axe-core/axe.min.js"
HRAS = "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSY"


def violations(screen) -> list[str]:
    """What axe finds, with the element that it finds it in."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci --prefix ui")
    screen.page.evaluate(AXE.read_text())
    found = screen.page.evaluate("axe.run(document)")["violations"]
    return [f"{own['id']}: {node['html'][:200]}" for own in found for node in own["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_figures(open_page, server, scheme):
    screen = open_page(server, color_scheme=scheme)
    assert violations(screen) == []
    screen.look(HRAS, model="esm2-demo")
    screen.click("scan", 0, 5)
    screen.page.wait_for_selector("#filled")
    screen.table("contacts")
    screen.table("scan")
    assert violations(screen) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_models_and_in_refusals(open_page, server, guarded, scheme):
    models = open_page(server, "/models", color_scheme=scheme)
    models.page.wait_for_selector(".live")
    assert violations(models) == []
    closed = open_page(guarded, color_scheme=scheme)
    closed.page.get_by_label("Token").wait_for()
    assert violations(closed) == []
    refused = open_page(server, color_scheme=scheme)
    refused.submit("MKJ")
    assert refused.problem
    assert violations(refused) == []


def test_a_heat_map_is_read_and_used_by_keyboard(screen):
    screen.look(HRAS, model="esm2-demo")
    canvas = screen.page.locator("#scan dense-matrix canvas")
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown"):
        canvas.press(key)
    said = screen.page.locator("#said").inner_text()
    assert said.startswith(f"{HRAS[2]}3V: ")
    assert screen.tooltip == said
    canvas.press("End")
    assert screen.page.locator("#said").inner_text().startswith(f"{HRAS[-1]}{len(HRAS)}V: ")
    canvas.press("Enter")
    screen.page.wait_for_selector(f"#filled h3:has-text('{HRAS[-1]}{len(HRAS)}')")
    canvas.press("+")
    screen.settle()
    assert float(screen.page.get_by_label("from").input_value()) > 1


def test_the_cell_that_a_keyboard_points_at_is_on_the_screen(open_page, server):
    screen = open_page(server, viewport={"width": 1100, "height": 600})
    screen.look(HRAS, model="esm2-demo")
    canvas = screen.page.locator("#contacts dense-matrix canvas")
    canvas.focus()
    for key in ["ArrowDown"] * len(HRAS) + ["ArrowUp"] * len(HRAS):
        canvas.press(key)
        box = screen.page.locator("#tip").bounding_box()
        assert 80 < box["y"] < 600 - box["height"], key


def test_a_residue_can_be_masked_by_its_number(screen):
    screen.look(HRAS, model="esm2-demo")
    screen.page.get_by_label("residue", exact=True).fill("15")
    screen.page.get_by_role("button", name="mask", exact=True).click()
    screen.page.wait_for_selector(f"#filled h3:has-text('{HRAS[14]}15')")


def test_the_zoom_buttons_zoom(screen):
    screen.look(HRAS, model="esm2-demo")
    start, end = screen.page.get_by_label("from"), screen.page.get_by_label("to", exact=True)
    screen.page.get_by_role("button", name="Zoom in").click()
    assert (start.input_value(), end.input_value()) == ("11", "30")
    screen.page.get_by_role("button", name="whole").click()
    assert (start.input_value(), end.input_value()) == ("1", "40")


def test_the_wheel_zooms_with_ctrl_only(screen):
    screen.look(HRAS, model="esm2-demo")
    screen.page.locator("#scan canvas").first.hover()
    screen.page.mouse.wheel(0, -200)
    screen.settle()
    assert screen.page.get_by_label("from").input_value() == "1"
    screen.page.locator("#scan canvas").first.hover()
    screen.page.keyboard.down("Control")
    screen.page.mouse.wheel(0, -200)
    screen.page.keyboard.up("Control")
    screen.page.wait_for_function("document.querySelector('.toolbar input').value !== '1'")


@pytest.mark.parametrize("path", ["/", "/models"])
def test_a_phone_scrolls_down_and_never_sideways(open_page, server, path):
    screen = open_page(server, path, viewport={"width": 375, "height": 700}, has_touch=True)
    if path == "/":
        screen.look(HRAS, model="esm2-demo")
        screen.page.locator("#scan canvas").first.tap(position={"x": 200, "y": 60})
        screen.page.wait_for_selector("#filled")
    assert screen.page.evaluate("document.documentElement.scrollWidth") == 375
