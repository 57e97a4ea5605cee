"""/models, and how the page is served."""

from __future__ import annotations

import gzip

import pytest

ASSETS = ["/ui/app.js", "/ui/app.css", "/ui/icon.svg"]
LICENSES = ["/ui/licenses.md", "/ui/license-of-d3.txt"]
COMPANY = {True: "the same bits as alone", False: "last bits may differ from alone"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def facts(screen, slug: str) -> dict[str, str]:
    card = f"section[aria-label={slug}]"
    rows = f"[...document.querySelectorAll('{card} .facts > div')]"
    return dict(screen.page.evaluate(f"{rows}.map(row => [...row.children].map(c => c.innerText))"))


def test_each_model_is_shown_as_info_tells_it(open_page, server):
    screen = open_page(server, "/models")
    screen.page.wait_for_selector(".live")
    info = server.get("/info").json()
    for model in info["models"]:
        own = facts(screen, model["slug"])
        shape = model["shape"]
        assert own["shape"] == "{layers} layers, {dim} dimensions, {heads} heads".format(**shape)
        assert own["sha256"] == f"{model['weights_sha256'][:16]}…"
        assert own["device"] == model["device"]
        assert own["threads"] == str(model["threads"])
        assert own["arithmetic"] == f"{model['dtype']}, {model['kernel']}"
        assert own["answers in a batch"] == COMPANY[model["batch_invariant"]]
        assert own["batch"] == f"up to {model['pack_tokens']:,} tokens"
    assert facts(screen, "esm2-demo")["parameters"] == "2.7M (2,713,414)"
    assert facts(screen, "headless")["contacts"] == "no contact head"
    limits = screen.page.locator("main > .facts").inner_text()
    assert f"{info['limits']['max_residues']:,}" in limits


def test_the_speed_is_shown_once_something_was_computed(open_page, server):
    server.results("headless", "encode", "M" * 500)
    told = {own["slug"]: own for own in server.get("/status").json()["models"]}
    assert told["headless"]["tokens_per_second"] > 0
    assert told["headless"]["waiting_tokens"] == 0
    screen = open_page(server, "/models")
    screen.page.wait_for_selector("[aria-label=headless] .live:has-text('tokens/s')")


def test_the_queues_are_looked_at_again_when_the_server_is_back(open_page, server):
    screen = open_page(server, "/models")
    screen.page.wait_for_selector(".live")
    screen.page.route("**/status", lambda route: route.abort())
    assert screen.problem == "The server does not answer. Is it still running?"
    assert screen.page.locator(".live").count() == 0
    screen.page.unroute("**/status")
    screen.page.wait_for_selector(".live")
    assert screen.page.get_by_role("alert").count() == 0
    assert all("net::ERR_FAILED" in complaint for complaint in screen.complaints)
    screen.complaints.clear()


def test_the_status_of_a_guarded_server_wants_a_token(open_page, guarded):
    assert guarded.request("GET", "/status", headers={"Authorization": None}).status == 401
    screen = open_page(guarded, "/models")
    field = screen.page.get_by_label("Token")
    field.fill("let-me-in")
    field.press("Enter")
    screen.page.wait_for_selector(".live")


# --- how it is served --------------------------------------------------------------------------


def test_a_browser_gets_the_page_and_a_program_json(server):
    page = server.request("GET", "/", headers=HTML)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<esm2-app>" in page.body
    assert server.get("/").json()["status"] == "ok"
    assert "Accept" in page.headers["Vary"]
    assert "Accept" in server.get("/").headers["Vary"]


@pytest.mark.parametrize("path", ["/", "/models"])
def test_the_page_may_load_and_ask_nothing_of_others(server, path):
    policy = server.request("GET", path, headers=HTML).headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"


def test_all_of_it_is_less_than_400_kilobytes(server):
    paths = ["/", *ASSETS]
    replies = [server.request("GET", p, headers=HTML | {"Accept-Encoding": "gzip"}) for p in paths]
    assert sum(len(reply.body) for reply in replies) < 400_000
    for path, reply in zip(paths, replies, strict=True):
        plain = server.request("GET", path, headers=HTML)
        assert (reply.headers["Content-Encoding"], reply.status) == ("gzip", 200)
        assert gzip.decompress(reply.body) == plain.body


@pytest.mark.parametrize("path", ["/models", *ASSETS])
def test_what_a_browser_has_is_not_sent_again(server, path):
    first = server.get(path)
    again = server.request("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert first.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/ui/", "/ui/nothing.js", "/ui/../index.html", "/ui/%2e%2e/app.js"]
)
def test_nothing_else_is_served_beside_it(server, path):
    assert server.get(path).status == 404


def test_the_licences_of_what_is_in_it_go_with_it(server):
    said = b"".join(server.get(path).body for path in LICENSES).decode()
    for whose in ("lit", "@nightingale-elements/nightingale-sequence", "Mike Bostock"):
        assert whose in said
