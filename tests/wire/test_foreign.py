"""Under which names a server answers, to which pages, and at which addresses beside the usual."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import SecretStr

from esm2.runtime import Runtime
from esm2.server.app import create_admin_app
from esm2.server.metrics import Metrics
from esm2.settings import Settings
from tests.wire.fake import PATH, app_over, at_once, call, ones

BODY = json.dumps({"items": [{"sequence": "MKT"}]}).encode()
OPEN = app_over(at_once(ones))
CLOSED = app_over(at_once(ones), tokens=(SecretStr("secret"),))
TOKEN = {"Authorization": "Token secret"}
ALLOWING = app_over(
    at_once(ones), allow_host=("lab.example",), allow_origin=("https://pages.example",)
)
BELOW = app_over(at_once(ones), root_path="/esm2")


def asked(app, headers=None, method="POST", path=f"{PATH}/encode/"):
    return asyncio.run(call(app, method, path, BODY if method == "POST" else b"", headers))


# --- Host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8000", "localhost.", "tool.localhost:80", "127.0.0.1:8000"),
        *("127.8.9.10", "[::1]", "[::1]:8000"),
    ],
)
def test_without_tokens_a_name_of_this_machine_is_answered(host):
    assert asked(OPEN, {"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "notlocalhost", ""),
        *("127.0.0.1.evil.example", "0.0.0.0:8000", "10.0.0.1", "[::2]:8000", ":8000", "a:b:c"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", f"{PATH}/encode/"), ("GET", "/"), ("GET", "/health/ready"), ("GET", "/nothing")],
)
def test_without_tokens_no_other_name_is(host, method, path):
    refused = asked(OPEN, {"Host": host}, method, path)
    assert (refused.status, refused.json()["code"]) == (403, "auth.foreign_host")
    assert "--allow-host" in refused.json()["error"]
    assert refused.headers["X-Request-ID".lower()]


def test_a_client_of_http_1_0_names_no_host_and_is_answered():
    assert asked(OPEN).status == 200


def test_a_name_that_was_allowed_is_answered_and_no_other():
    assert asked(ALLOWING, {"Host": "LAB.example:443"}).status == 200
    assert asked(ALLOWING, {"Host": "127.0.0.1"}).status == 200
    assert asked(ALLOWING, {"Host": "other.example"}).status == 403


def test_with_tokens_the_token_decides():
    assert asked(CLOSED, {"Host": "lab.example", **TOKEN}).status == 200
    assert asked(CLOSED, {"Host": "lab.example"}).status == 401


def test_a_name_that_looks_like_none_is_not_repeated():
    refused = asked(OPEN, {"Host": "MKTAYIAKQR<b>"})
    assert "another name" in refused.json()["error"]


def test_the_admin_port_is_no_way_around_where_only_this_machine_can_reach_it():
    for host, status in (("127.0.0.1", 403), ("0.0.0.0", 200)):
        runtime = Runtime(Settings.model_construct(admin_host=host), {})
        app = create_admin_app(runtime, Metrics())
        answer = asked(app, {"Host": "esm2.monitoring:9000"}, "GET", "/metrics")
        assert answer.status == status


# --- Origin --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost"),  # a proxy took off TLS
        ("localhost:443", "https://LOCALHOST"),
    ],
)
def test_the_servers_own_page_is_answered(host, origin):
    assert asked(OPEN, {"Host": host, "Origin": origin}).status == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1", "file://", "?"],
)
def test_without_tokens_a_page_of_elsewhere_computes_nothing(origin):
    refused = asked(OPEN, {"Host": "localhost:8000", "Origin": origin})
    assert (refused.status, refused.json()["code"]) == (403, "auth.foreign_origin")
    assert "access-control-allow-origin" not in refused.headers


def test_a_page_of_an_origin_that_was_allowed_may_ask_and_read():
    allowed = {"Host": "lab.example", "Origin": "https://pages.example"}
    answer = asked(ALLOWING, allowed)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://pages.example"
    assert "X-ESM2-Weights" in answer.headers["access-control-expose-headers"]
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    first = asked(ALLOWING, allowed | asks, "OPTIONS")
    assert first.status == 200
    assert "POST" in first.headers["access-control-allow-methods"]


def test_without_a_word_no_page_elsewhere_may_read():
    for app, more in ((OPEN, {}), (CLOSED, TOKEN)):
        headers = {"Host": "localhost", "Origin": "https://pages.example", **more}
        assert "access-control-allow-origin" not in asked(app, headers).headers


# --- addresses -----------------------------------------------------------------------------------

GETS = ["/", "/models", "/health/live", "/health/ready", "/info", "/status", "/docs"]


@pytest.mark.parametrize(
    "path", [*GETS, "/openapi.json", "/metrics", "/ui/app.css", "/api/v3/schema/esm2-demo/encode/"]
)
def test_head_is_get_without_its_content(path):
    get, head = asked(OPEN, method="GET", path=path), asked(OPEN, method="HEAD", path=path)
    own = {"x-request-id", *(("content-length",) if path == "/metrics" else ())}
    assert (get.status, head.status, head.body) == (200, 200, b"")
    assert [(k, v) for k, v in head.headers.items() if k not in own] == [
        (k, v) for k, v in get.headers.items() if k not in own
    ]


def test_what_answers_only_post_does_not_answer_head():
    refused = asked(OPEN, method="HEAD")
    assert (refused.status, refused.headers["allow"], refused.body) == (405, "POST", b"")


@pytest.mark.parametrize("method", ["A" * 3000, "POST"])
@pytest.mark.parametrize("path", ["/info", "/swagger/" + "a" * 3000])
def test_what_a_caller_wrote_is_not_repeated_at_length(method, path):
    refused = asked(OPEN, method=method, path=path)
    assert refused.status in (404, 405)
    assert len(refused.body) < 400


@pytest.mark.parametrize("path", [*GETS, f"{PATH}/encode/"])
def test_below_a_root_path_everything_is_where_it_is_without(path):
    method = "POST" if path.startswith("/api") else "GET"
    for prefix in ("", "/esm2"):
        assert asked(BELOW, method=method, path=f"{prefix}{path}").status == 200
    assert asked(BELOW, method=method, path=f"/esm{path}").status == 404
    assert asked(BELOW, method=method, path=f"/esm2x{path}").status == 404


def test_the_root_path_itself_is_sent_on_to_where_the_pages_addresses_are_right():
    sent_on = asked(BELOW, method="GET", path="/esm2")
    assert (sent_on.status, sent_on.headers["location"]) == (307, "esm2/")
    assert asked(BELOW, method="GET", path="/esm2/").status == 200


def test_below_a_root_path_refusals_are_in_the_words_of_their_generation():
    refused = asked(BELOW, path="/esm2/api/v1/esm2-demo/predict")
    assert (refused.status, refused.json()["status_code"]) == (422, 422)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("path", "now"),
    [
        ("esm2-demo/transform/", f"{PATH}/encode/"),
        ("esm2-demo/predict", f"{PATH}/predict/"),
        ("esm2_t33_650M_UR50D/transform/", "/api/v2/SLUG/encode/"),
        ("esmfold-singlechain/predict/", "/api/v2/SLUG/predict/"),
    ],
)
def test_the_api_before_the_seed_is_refused_with_the_address_that_works(method, path, now):
    refused = asked(OPEN, method=method, path=f"/api/v1/models/{path}")
    assert (refused.status, refused.json()["code"]) == (404, "http.moved")
    assert f"POST {now} answers" in refused.json()["error"]


# --- what is asked says its name -----------------------------------------------------------------


@pytest.mark.parametrize("action", ["encode", "log_prob", "score", "scan", "pll"])
def test_an_action_that_takes_no_mask_says_which_it_is(action):
    item = {"sequence": "MKT<mask>", **({"variants": ["WT"]} if action == "score" else {})}
    reply = call(
        OPEN, "POST", f"/api/v3/esm2-demo/{action}/", json.dumps({"items": [item]}).encode()
    )
    [sentence] = asyncio.run(reply).json()["error"]["items__0__sequence"]
    assert sentence == (
        f"residue 4 is <mask>, and every residue must be known for {action}; for masked ones use"
        " predict"
    )
