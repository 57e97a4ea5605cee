"""/docs in a real browser: what is filled in can be sent as it is."""

from __future__ import annotations

import pytest

from tests.ui.screen import PATIENCE


@pytest.mark.parametrize("address", ["v3__slug__encode__post", "v2__slug__predict__post"])
def test_try_it_out_is_filled_in_and_works(browser, server, address):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/docs")
    operation = page.locator(f"[id$='{address}']")
    operation.click()
    operation.get_by_role("button", name="Try it out").click()
    slug = operation.locator("input[placeholder=slug]").input_value()
    assert slug == server.get("/info").json()["models"][0]["slug"]
    operation.get_by_role("button", name="Execute").click()
    live = operation.locator(".live-responses-table tbody .response-col_status")
    assert live.inner_text().startswith("200")
    page.close()
