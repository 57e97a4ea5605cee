"""What a body may hold is counted before it is looked at, whatever place of it is filled."""

from __future__ import annotations

import asyncio
import json

import pytest

from esm2.settings import load
from tests.wire.fake import PATH, app_over, at_once, call, ones

APP = app_over(at_once(ones), max_body_bytes=1 << 20)
DESCRIBED = APP.openapi()
#: Path -> schema of what it is sent.
PATHS = {
    path: methods["post"]["requestBody"]["content"]["application/json"]["schema"]
    for path, methods in DESCRIBED["paths"].items()
    if "requestBody" in methods.get("post", {})
}
#: Values that have no effect, of which anything is taken.
FREE = {"params", "items.id", "items.metadata"}


def parts(schema, place=""):
    """Every schema inside a schema, with its place."""
    while "$ref" in schema:
        schema = DESCRIBED["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield place, schema
    for either in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(either, ()):
            yield from parts(inner, place)
    if "items" in schema:
        yield from parts(schema["items"], place)
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{place}.{name}".strip("."))


def ask(path, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(call(APP, "POST", path, content))


@pytest.mark.parametrize("path", PATHS)
def test_no_list_and_no_object_of_a_body_is_described_without_a_bound(path):
    found = list(parts(PATHS[path]))
    assert {"items", "items.sequence"} <= {place for place, _ in found}
    for place, schema in found:
        kind = schema.get("type")
        if kind == "array":
            assert schema["maxItems"] <= 20_000, place
        elif kind == "object":
            assert schema["additionalProperties"] is False, place
        elif not schema.keys() - {"title", "description", "default"}:
            assert place in FREE


def filled(place, elements):
    """A body whose list at that place has these elements."""
    item = {"sequence": "MKT"}
    if place == "items":
        return {"items": elements}
    if place == "items.variants":
        return {"items": [{**item, "variants": elements}]}
    return {"items": [item], "params": {place.removeprefix("params."): elements}}


LISTS = [
    (path.replace("{slug}", "esm2-demo"), place)
    for path, schema in PATHS.items()
    for place, part in parts(schema)
    if part.get("type") == "array"
]


@pytest.mark.parametrize("count", [15_000, 25_000])
@pytest.mark.parametrize(("path", "place"), LISTS)
def test_a_list_full_of_what_it_may_not_hold_is_a_handful_of_faults(path, place, count):
    reply = ask(path, filled(place, [0.5] * count))
    assert reply.status in (400, 422)
    assert len(reply.body) < 3_000


@pytest.mark.parametrize("free", ["id", "metadata"])
@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (b"[]," * 2_000, "1536 lists and objects"),
        (b'"\\":",' * 2_000, "1536 names"),
        (b'{"a":1},' * 2_000, "1536 lists"),
        (b"0," * 162_000, "161536 values"),
    ],
)
def test_what_is_not_looked_at_is_counted_as_well(free, inside, said):
    body = b'{"items":[{"sequence":"MKT","%s":[%s0]}]}' % (free.encode(), inside)
    reply = ask(f"{PATH}/encode/", body)
    assert reply.status == 400
    assert said in reply.body.decode()


def test_a_thread_reads_a_large_body_and_refuses_it_as_others_are():
    items = [{"sequence": "MKT", "metadata": " " * 50_000}, {"sequence": "MJT"}]
    reply = ask(f"{PATH}/encode/", {"items": items})
    assert (reply.status, reply.json()["code"]) == (400, "request.invalid_sequence")
    assert list(reply.json()["error"]) == ["items__1__sequence"]
    assert ask(f"{PATH}/encode/", {"items": items[:1]}).status == 200


def test_a_body_may_be_as_large_as_the_other_limits_allow():
    """Eight items of 20,000 substitutions, as long as they are written."""
    variants = [f"p.Ala{at}Gly" for at in range(1001, 2001)] * 20
    item = {"sequence": "A" * 2048, "variants": variants, "metadata": "x" * 1000}
    body = json.dumps({"items": [item] * 8}, separators=(",", ":"))
    assert len(body) <= load({}).max_body_bytes == 3 << 20
    assert load({"max_items": 1}).max_body_bytes == 1 << 20
    assert load({"max_items": 10**6}).max_body_bytes == 16 << 20
