"""What a server says about itself: health, /info, /docs and /openapi.json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any
from urllib.parse import urljoin

import pytest

from esm2.loading import DEMO_DIRECTORY
from tests.wire.refusals import ENCODE

SERVED = ["my-slug", "esm2-8m", "headless", "esm2-demo"]


def test_a_living_server_says_so(server):
    answer = server.get("/health/live")
    assert (answer.status, answer.json()) == (200, {"status": "live"})


def test_a_ready_server_names_the_models_that_computed(server):
    answer = server.get("/health/ready")
    assert (answer.status, answer.json()) == (200, {"status": "ready", "models": SERVED})


def test_info_says_what_was_decided(server, direct):
    info = server.get("/info").json()
    assert info["version"] == version("esm2")
    assert info["versions"]["torch"] == version("torch")
    assert [model["slug"] for model in info["models"]] == SERVED
    own, official, headless, demo = info["models"]
    assert own["shape"] == {"layers": 3, "dim": 48, "heads": 4}
    assert official["shape"] == {"layers": 6, "dim": 320, "heads": 20}
    assert {model["device"] for model in info["models"]} == {direct("my-slug").decided.device}
    assert {model["dtype"] for model in info["models"]} == {"float32"}
    assert own["weights_sha256"] == direct("my-slug").decided.weights_sha256
    assert re.fullmatch(r"[0-9a-f]{64}", demo["weights_sha256"])
    assert (own["contacts"], headless["contacts"]) == (True, False)


def test_info_calls_no_weights_official_that_are_not(server):
    kinds = {model["slug"]: model["weights_kind"] for model in server.get("/info").json()["models"]}
    assert (DEMO_DIRECTORY / "model.safetensors").exists()
    assert kinds == {
        "my-slug": "custom",
        "esm2-8m": "custom",
        "headless": "custom",
        "esm2-demo": "demo",
    }


def test_info_publishes_the_limits_in_force(server, guarded):
    limits = {"max_items": 3, "max_residues": 300, "max_body_bytes": 4096}
    assert limits.items() <= guarded.get("/info").json()["limits"].items()
    limits = {"max_items": 8, "max_residues": 2048, "max_body_bytes": 3 << 20}
    assert limits.items() <= server.get("/info").json()["limits"].items()


# --- /docs -------------------------------------------------------------------------------------


def test_the_docs_load_nothing_from_elsewhere(server):
    page = server.get("/docs")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    text = page.body.decode()
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)|url: *["']([^"']+)""", text)
    whole = [urljoin(f"{server.url}/docs", a or b) for a, b in addresses]
    assert len(whole) >= 3, "the page has no scripts, or the test cannot see them"
    assert [address for address in whole if not address.startswith(f"{server.url}/")] == []
    for address in whole:
        answer = server.get(address.removeprefix(server.url))
        assert (answer.status, bool(answer.body)) == (200, True), address


def test_the_docs_work_under_whatever_name_and_scheme_a_proxy_gives_them(guarded):
    page = guarded.request("GET", "/docs", headers={"Host": "proxied.example"})
    assert page.status == 200
    assert "http://" not in page.body.decode()


# --- /openapi.json -----------------------------------------------------------------------------


@pytest.fixture(params=["server", "guarded"])
def described(request) -> tuple[Any, Any]:
    """The description of a server, and what it decided."""
    asked = request.getfixturevalue(request.param)
    answer = asked.get("/openapi.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json(), asked.get("/info").json()


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        value = list(value.values())
    for part in value if isinstance(value, list) else []:
        yield from references(part)


def resolve(document: Any, part: Any) -> Any:
    """A part of the document, its reference followed."""
    while "$ref" in part:
        place, part = part["$ref"], document
        for key in place.removeprefix("#/").split("/"):
            part = part[key]
    return part


STATUS = "GET /status"
HEALTH = {"GET /health/live", "GET /health/ready", "GET /info", STATUS}


V3_ACTIONS = ("encode", "predict", "log_prob", "score", "scan", "pll")


def actions(slugs: list[str]) -> set[str]:
    """Every address at which a model can be asked; v1 has one for each model."""
    return (
        {f"POST /api/v3/{{slug}}/{a}/" for a in V3_ACTIONS}
        | {f"POST /api/v2/{{slug}}/{action}/" for action in ("encode", "predict")}
        | {f"POST /api/v1/{s}/{a}" for s in slugs for a in ("encode", "predict", "log_prob")}
    )


def test_the_description_has_every_route(described):
    document, info = described
    assert document["openapi"].startswith("3.")
    slugs = [model["slug"] for model in info["models"]]
    assert {name for name, _ in operations(document)} == actions(slugs) | HEALTH


def test_every_reference_of_the_description_leads_somewhere(described):
    document, _ = described
    found = list(references(document))
    assert found
    for reference in found:
        assert reference.startswith("#/components/")
        assert resolve(document, {"$ref": reference})


def test_bodies_are_described_with_the_limits_in_force(described):
    document, info = described
    for action in ("encode", "predict"):
        operation = document["paths"][f"/api/v2/{{slug}}/{action}/"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        items = resolve(document, body)["properties"]["items"]
        assert items["maxItems"] == info["limits"]["max_items"]
        assert items["minItems"] == 1
        item = resolve(document, items["items"])
        assert item["properties"]["sequence"]["type"] == "string"
        assert item["required"] == ["sequence"]
        assert item["additionalProperties"] is False


@pytest.mark.parametrize(
    ("action", "keys"),
    [
        (
            "encode",
            [
                "sequence_index",
                "representations",
                "mean_representations",
                "bos_representations",
                "contacts",
                "logits",
                "attentions",
            ],
        ),
        ("predict", ["logits", "sequence_tokens", "alphabet_tokens"]),
    ],
)
def test_answers_are_described_as_they_come(server, action, keys):
    document = server.get("/openapi.json").json()
    operation = document["paths"][f"/api/v2/{{slug}}/{action}/"]["post"]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    result = resolve(document, resolve(document, answer)["properties"]["results"]["items"])
    assert list(result["properties"]) == keys


def test_every_refusal_that_is_given_is_described(described, guarded):
    document, _ = described
    for action in ("encode", "predict"):
        responses = document["paths"][f"/api/v2/{{slug}}/{action}/"]["post"]["responses"]
        given = {"400", "401", "403", "404", "408", "413", "415", "429", "500", "503", "504"}
        assert given <= set(responses)
        assert "422" not in responses
        for status in responses.keys() - {"200"}:
            schema = resolve(document, responses[status])["content"]["application/json"]["schema"]
            refusal = guarded.post(ENCODE, b"").json()
            assert set(schema["required"]) <= set(refusal)
            assert set(schema["properties"]) == set(refusal)


@pytest.mark.parametrize("name", sorted(actions(["my-slug"]) | HEALTH))
def test_every_route_describes_its_answer(server, name):
    document = server.get("/openapi.json").json()
    operation = dict(operations(document))[name]
    assert operation["description"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert resolve(document, schema).get("properties")


def test_the_token_is_described_where_it_is_needed(described):
    document, info = described
    [scheme] = document["components"]["securitySchemes"]
    named = {name for name, operation in operations(document) if operation.get("security")}
    assert named == actions([model["slug"] for model in info["models"]]) | {STATUS, "GET /info"}
    assert document["paths"]["/api/v2/{slug}/encode/"]["post"]["security"] == [{scheme: []}]


def test_a_body_has_one_schema_and_another_only_where_a_model_takes_less(server):
    schemas = server.get("/openapi.json").json()["components"]["schemas"]
    own = {name for name in schemas if "." in name}
    assert own == {
        f"{slug}.{body}" for slug in ("my-slug", "headless") for body in ("EncodeBody", "Params")
    }
    layers = [
        schemas[name]["properties"]["repr_layers"]["anyOf"][1]["maximum"]
        for name in ("Params", "my-slug.Params", "headless.Params")
    ]
    assert layers == [6, 3, 2]
    assert "-Input" not in "".join(schemas)
