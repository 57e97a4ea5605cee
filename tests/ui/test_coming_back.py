"""Reload, back, and a link that one may send; and what is kept meanwhile."""

from __future__ import annotations

import pytest

HRAS = "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSY"
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAIQ"


def shown(screen) -> str:
    return screen.page.locator(".summary").inner_text()


def wait_for(screen, sentence: str) -> None:
    screen.page.wait_for_selector(f".summary:has-text('{sentence}')")


def test_what_was_looked_at_is_there_after_a_reload(screen):
    screen.look(f">one\n{HRAS}\n>two\n{UBIQUITIN}", model="headless")
    screen.page.get_by_label("Record").select_option("two")
    wait_for(screen, "two: 30 residues, headless")
    screen.page.reload()
    wait_for(screen, "two: 30 residues, headless")
    assert screen.page.locator("#model").input_value() == "headless"


def test_back_and_forward_go_from_protein_to_protein(screen):
    screen.look(f">one\n{HRAS}", model="esm2-demo")
    screen.look(f">two\n{UBIQUITIN}")
    wait_for(screen, "two")
    screen.page.go_back()
    wait_for(screen, "one: 40 residues")
    screen.page.go_forward()
    wait_for(screen, "two: 30 residues")


def test_the_page_of_the_models_and_back_loses_nothing(screen):
    screen.look(f">one\n{HRAS}", model="esm2-demo")
    screen.page.get_by_role("link", name="Models").click()
    screen.page.wait_for_selector(".cards")
    screen.page.go_back()
    wait_for(screen, "one: 40 residues")


@pytest.fixture
def link(open_page, server) -> str:
    """The link that the page copies for a protein with a masked residue."""
    screen = open_page(server, permissions=["clipboard-read", "clipboard-write"])
    screen.look(f">P01112\nM<mask>{HRAS[2:]}", model="headless")
    assert "#" not in screen.page.url  # what is looked at is in no address of itself
    screen.page.get_by_role("button", name="Copy link").click()
    screen.page.get_by_text("copied", exact=True).wait_for()
    return screen.page.evaluate("navigator.clipboard.readText()")


def test_a_copied_link_shows_the_same_to_another(open_page, server, link):
    asked: list[str] = []
    other = open_page(server, "/models")
    other.page.on("request", lambda request: asked.append(request.url))
    other.page.goto(link)
    wait_for(other, "P01112: 40 residues, headless")
    assert not [url for url in asked if HRAS[2:] in url and url != link]
    assert other.page.evaluate("performance.getEntriesByType('navigation')[0].name") == link


def test_a_link_to_a_model_that_is_not_here_is_not_answered_by_another(open_page, server, link):
    screen = open_page(server, "/" + link.split("/")[-1].replace("headless", "esm2-650m"))
    assert "esm2-650m, which this server does not have" in screen.problem
    assert screen.page.locator("protein-view").count() == 0
    assert HRAS[2:] in screen.page.get_by_label("Protein sequence").input_value()


def test_copying_works_where_the_browser_has_no_clipboard(open_page, server):
    """As on every page of http:// that is not of this machine."""
    screen = open_page(server, permissions=["clipboard-read"])
    screen.look("MKTAYIAKQR", model="esm2-demo")
    screen.page.evaluate(
        "() => { window.kept = navigator.clipboard;"
        " Object.defineProperty(navigator, 'clipboard', { value: undefined }) }"
    )
    screen.page.get_by_role("button", name="Copy: The figures").click()
    screen.page.get_by_text("copied", exact=True).wait_for()
    got = screen.page.evaluate("kept.readText()")
    assert got == screen.page.locator("pre").first.inner_text()
