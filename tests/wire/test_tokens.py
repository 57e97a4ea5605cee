"""Tokens: who is let in, and where nobody is asked. Who is not let in: test_v2_errors.py."""

from __future__ import annotations

import pytest

BODY = {"items": [{"sequence": "MKT"}]}
PATHS = ["/api/v2/my-slug/encode/", "/api/v2/my-slug/encode"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "shown",
    [
        {"Authorization": "Token first-secret"},
        {"Authorization": "Token second-secret"},
        {"Authorization": "Bearer second-secret"},
        {"Authorization": "token first-secret"},
        {"Authorization": "BEARER first-secret"},
        {"Authorization": "Token   first-secret  "},
        {"Cookie": "access=first-secret;refresh=whatever"},
        {"Cookie": "refresh=whatever;access=second-secret"},
        {"Cookie": "refresh=whatever; access=second-secret"},
        {"Cookie": "access=first-secret"},
    ],
    ids=lambda shown: str(*shown.values()),
)
def test_whoever_shows_a_token_is_let_in(guarded, path, shown):
    answer = guarded.post(path, BODY, {"Authorization": None, **shown})
    assert answer.status == 200


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_the_path_goes_round_the_gate(guarded, path):
    assert guarded.post(path, BODY, {"Authorization": None}).status == 401


def test_the_gate_stands_before_the_body_and_the_models(guarded):
    answer = guarded.post("/api/v2/no-such-model/encode/", b"junk", {"Authorization": None})
    assert answer.status == 401


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs", "/openapi.json"])
def test_health_and_documentation_need_no_token(guarded, path):
    assert guarded.request("GET", path, headers={"Authorization": None}).status == 200


@pytest.mark.parametrize("path", ["/info", "/status", "/metrics"])
def test_what_the_server_is_and_does_is_for_those_with_a_token(guarded, path):
    refused = guarded.request("GET", path, headers={"Authorization": None})
    assert (refused.status, refused.json()["code"]) == (401, "auth.unauthenticated")
    assert guarded.get(path).status == 200


def test_nothing_public_shows_a_token(guarded):
    for path in ("/health/ready", "/info", "/docs", "/openapi.json"):
        assert b"secret" not in guarded.get(path).body


@pytest.mark.parametrize(
    "shown", [{}, {"Authorization": "Token anything"}, {"Cookie": "access=anything;refresh=x"}]
)
def test_a_server_without_tokens_asks_for_none_and_takes_any(server, shown):
    """BioLM's SDKs refuse to start without some token, so an open server is sent one too."""
    assert server.post(PATHS[0], BODY, shown).status == 200
