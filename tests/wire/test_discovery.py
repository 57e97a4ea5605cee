"""What clients ask about the server: schemas, login check, models. None of it computes."""

from __future__ import annotations

import json
import re
from importlib.metadata import version

import jsonschema_rs
import pytest

from tests.wire.dialects import EXAMPLES

SERVED = {"my-slug": 3, "esm2-8m": 6, "headless": 2, "esm2-demo": 6}
ACTIONS = ("encode", "predict", "log_prob")
ONLY_IN_V3 = ("score", "scan", "pll")
LOGIN_CHECKS = ("/api/v1/auth/login-check/", "/api/v1/auth/login-check")
NOBODY = {"Authorization": None}


def schema(server, slug: str, action: str, end: str = "/"):
    """A schema, asked for without a token."""
    path = f"/api/v3/schema/{slug}/{action}{end}"
    answer = server.request("GET", path, headers=NOBODY)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


# --- GET /api/v3/schema/{slug}/{action}/ -----------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("slug", SERVED)
def test_a_schema_has_what_the_sdks_read_from_it(guarded, slug, action):
    limits = guarded.get("/info").json()["limits"]
    found = schema(guarded, slug, action)
    assert type(found["properties"]["items"]["maxItems"]) is int
    assert found["properties"]["items"]["maxItems"] == limits["max_items"] == 3
    assert found["throttle_rate"] is None
    item = found["properties"]["items"]["items"]["$ref"].removeprefix("#/$defs/")
    sequence = found["$defs"][item]["properties"]["sequence"]
    assert sequence["type"] == "string"
    # Characters: a <mask> is one residue and six of them.
    assert sequence["maxLength"] == limits["max_residues"] * (6 if action == "predict" else 1)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_schema_says_the_limits_that_a_server_has_by_default(server, action):
    assert schema(server, "my-slug", action)["properties"]["items"]["maxItems"] == 8


@pytest.mark.parametrize("slug", ["MY-SLUG", "My-Slug"])
def test_a_schema_is_the_same_in_any_spelling_of_its_address(guarded, slug):
    want = schema(guarded, "my-slug", "encode")
    assert schema(guarded, slug, "encode") == schema(guarded, slug, "encode", end="") == want


BAD = [
    {},
    {"items": []},
    {"items": [{"sequence": ""}]},
    {"items": [{"sequence": "MKJ"}]},
    {"items": [{"sequence": "mkt"}]},
    {"items": [{"sequence": "MKT\n"}]},
    {"items": [{"sequence": "M" * 301}]},
    {"items": [{"sequence": "<mask>" * 301}]},
    {"items": [{"sequence": "M" * 300 + "<mask>"}]},
    {"items": [{"sequence": None}]},
    {"items": [{"sequence": "M", "name": "p53"}]},
]
BAD_PARAMS = [
    {"include": []},
    {"include": ["means"]},
    {"include": "means"},
    {"repr_layers": [4]},
    {"repr_layers": -5},
    {"repr_layers": [0.5]},
    {"repr_layers": []},
]
GOOD_PARAMS = [
    None,
    {},
    {"include": ["mean", "per_residue"], "repr_layers": [-4, 3]},
    {"include": "contacts", "repr_layers": 0},
    {"repr_layers": [1.0]},
]


@pytest.mark.parametrize("action", ACTIONS)
def test_what_a_schema_allows_is_answered_and_what_it_forbids_is_refused(guarded, action):
    good, masked = {"sequence": EXAMPLES[action]}, {"sequence": "MK<mask>"}
    bodies = [*BAD, {"items": [good] * 4}, {"items": [masked]}, {"items": [{"sequence": "MK"}]}]
    for params in [*BAD_PARAMS, *GOOD_PARAMS] if action == "encode" else GOOD_PARAMS:
        bodies.append({"items": [good] * 3, "params": params})
    allows = jsonschema_rs.validator_for(schema(guarded, "my-slug", action)).is_valid
    wrong = []
    for body in bodies:
        status = guarded.post(f"/api/v3/my-slug/{action}/", body).status
        if status != (200 if allows(body) else 400):
            wrong.append(f"{status}: {json.dumps(body)[:100]}")
    assert wrong == []
    assert {allows(body) for body in bodies} == {True, False}


@pytest.mark.parametrize("slug", SERVED)
def test_a_schema_knows_the_layers_and_heads_of_its_model(guarded, slug):
    allows = jsonschema_rs.validator_for(schema(guarded, slug, "encode")).is_valid
    deepest = SERVED[slug]
    items = [{"sequence": "M"}]
    for layer in (deepest, -deepest - 1):
        assert allows({"items": items, "params": {"repr_layers": [layer]}})
        beyond = layer + (1 if layer > 0 else -1)
        assert not allows({"items": items, "params": {"repr_layers": [beyond]}})
    contacts = {"items": items, "params": {"include": ["mean", "contacts"]}}
    assert allows(contacts) == (slug != "headless")


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/api/v3/schema/no-such/encode/", "model.unknown", "no-such"),
        ("/api/v3/schema/my-slugg/encode/", "model.unknown", "did you mean my-slug"),
        ("/api/v3/schema/esm2-3b/encode", "model.not_served", "esm2 fetch esm2-3b"),
        ("/api/v3/schema/my-slug/transform/", "http.not_found", "nothing at"),
        ("/api/v3/schema/my-slug/", "http.not_found", "nothing at"),
    ],
)
def test_there_is_no_schema_of_what_cannot_be_asked(guarded, path, code, words):
    answer = guarded.request("GET", path, headers=NOBODY)
    assert (answer.status, answer.json()["code"]) == (404, code)
    assert words in answer.json()["error"]


# --- POST /api/v1/auth/login-check/ ----------------------------------------------------------


@pytest.mark.parametrize("path", LOGIN_CHECKS)
@pytest.mark.parametrize(
    "shown",
    [
        {"Authorization": "Token first-secret"},
        {"Authorization": "Bearer second-secret"},
        {"Authorization": None, "Cookie": "access=first-secret;refresh=x"},
    ],
    ids=str,
)
def test_a_good_token_is_said_to_be_good_as_the_sdks_read_it(guarded, path, shown):
    answer = guarded.request("POST", path, headers=shown)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert isinstance(answer.json(), dict)
    assert "code" not in answer.json()


@pytest.mark.parametrize("path", LOGIN_CHECKS)
@pytest.mark.parametrize(
    "shown",
    [
        NOBODY,
        {"Authorization": "Token wrong"},
        {"Authorization": None, "Cookie": "access=wrong;refresh=x"},
    ],
    ids=str,
)
def test_a_bad_token_or_none_is_said_to_be_bad(guarded, path, shown):
    answer = guarded.request("POST", path, headers=shown)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Token")
    assert answer.json()["code"] == "auth.unauthenticated"
    assert answer.json()["detail"] == answer.json()["error"]


@pytest.mark.parametrize("shown", [{}, {"Authorization": "Token anything"}], ids=str)
def test_every_token_is_good_to_an_open_server(server, shown):
    answer = server.request("POST", LOGIN_CHECKS[0], headers=shown)
    assert answer.status == 200
    assert "code" not in answer.json()


# --- which models there are ------------------------------------------------------------------


def test_the_root_says_that_the_server_is_one_and_which_version(guarded):
    answer = guarded.request("GET", "/", headers=NOBODY)
    assert answer.status == 200
    assert answer.json()["status"] == "ok"
    assert version("esm2") in answer.json()["message"]


def test_the_hub_client_reads_the_served_models_out_of_the_addresses(guarded):
    paths = guarded.request("GET", "/openapi.json", headers=NOBODY).json()["paths"]
    # The pattern of biolm-sdk 1.7.0, hub/discovery.py: it would take {slug} for a model.
    found = [re.fullmatch(r"/api/v1/([^/]+)/([^/]+)/?", path) for path in paths]
    pairs = {match.groups() for match in found if match}
    assert pairs == {(slug, action) for slug in SERVED for action in ACTIONS}


def test_the_description_limits_layers_and_contacts_model_by_model(guarded):
    document = guarded.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for slug, deepest in SERVED.items():
        body = document["paths"][f"/api/v1/{slug}/encode"]["post"]["requestBody"]
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        params, _ = schemas[name]["properties"]["params"]["anyOf"]
        fields = schemas[params["$ref"].rpartition("/")[2]]["properties"]
        listed, bare = fields["repr_layers"]["anyOf"]
        assert (bare["minimum"], bare["maximum"]) == (-deepest - 1, deepest)
        assert listed["items"] == bare
        assert ("contacts" in fields["include"]["anyOf"][1]["enum"]) == (slug != "headless")


def test_the_models_are_listed_as_the_sdks_list_them(guarded):
    answer = guarded.request("GET", "/api/ui/community-api-models/", headers=NOBODY)
    assert answer.status == 200
    models = answer.json()
    assert [model["model_slug"] for model in models] == list(SERVED)
    for model in models:
        assert (model["encoder"], model["predictor"], model["generator"]) == (True, True, False)
        assert model["actions"] == [*ACTIONS, *ONLY_IN_V3]
        slug = model["model_slug"].upper()
        path = f"/api/ui/community-api-models/{slug}/"
        assert guarded.request("GET", path, headers=NOBODY).json() == model


def test_a_model_that_is_not_served_is_not_shown(guarded):
    answer = guarded.get("/api/ui/community-api-models/no-such/")
    assert (answer.status, answer.json()["code"]) == (404, "model.unknown")


def test_there_are_no_accounts_and_the_sdk_is_told_so_in_json(guarded):
    answer = guarded.request("GET", "/console/api/account-context/", headers=NOBODY)
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")
    assert answer.json()["code"] == "http.not_found"


# --- nothing is taken for something else -----------------------------------------------------


@pytest.mark.parametrize("path", LOGIN_CHECKS)
def test_the_login_check_is_not_an_action_of_a_model_called_auth(guarded, path):
    for method in ("GET", "PUT"):
        answer = guarded.request(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("action", ACTIONS)
def test_schema_is_not_a_model(guarded, action):
    answer = guarded.post(f"/api/v3/schema/{action}/", {"items": [{"sequence": "MKT"}]})
    assert (answer.status, answer.json()["code"]) == (404, "model.unknown")
    answer = guarded.post(f"/api/v3/schema/my-slug/{action}/", {})
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
