"""Whatever is sent, what comes back is a JSON object and no fault of the server."""

from __future__ import annotations

import asyncio
import gzip
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.fake import PATH, Reply, app_over, at_once, call, ones

APP = app_over(at_once(ones))
ACTIONS = st.sampled_from([f"{PATH}/encode/", f"{PATH}/encode", f"{PATH}/predict/"])
FEW_HUNDRED = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

SEQUENCES = st.one_of(
    st.text(max_size=30),
    st.text("ACDEFGHIKLMNPQRSTVWYXBUZO.-", max_size=30),
    st.lists(st.sampled_from(["M", "K", "<mask>", "<", ">", "\n", "j"]), max_size=8).map("".join),
)
LAYERS = st.one_of(st.integers(-5, 5), st.integers(), st.floats(), st.booleans(), st.text())
KINDS = st.sampled_from(
    ["mean", "per_token", "per_residue", "bos", "contacts", "logits", "attentions"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SEQUENCES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
#: Something in its place, most of the time.
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "include": st.lists(KINDS, max_size=4) | KINDS | JSON,
        "repr_layers": st.lists(LAYERS, max_size=4) | LAYERS | JSON,
        "more": JSON,
    },
)
BODIES = st.fixed_dictionaries(
    {"items": st.lists(st.fixed_dictionaries({"sequence": SEQUENCES}), max_size=10) | JSON},
    optional={"params": PARAMS | JSON, "more": JSON},
)
VALID = st.fixed_dictionaries(
    {
        "items": st.lists(
            st.fixed_dictionaries(
                {"sequence": st.text("ACDEFGHIKLMNPQRSTVWYXBUZO.-", min_size=1, max_size=20)}
            ),
            min_size=1,
            max_size=8,
        )
    },
    optional={
        "params": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "include": KINDS | st.lists(KINDS, min_size=1, max_size=9),
                "repr_layers": st.integers(-3, 2) | st.lists(st.integers(-3, 2), min_size=1),
            },
        )
    },
)


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> Reply:
    return asyncio.run(call(APP, "POST", path, body, headers))


def assert_answered(reply: Reply) -> None:
    assert reply.status < 500
    assert reply.headers["content-type"] == "application/json"
    content = reply.json()
    assert isinstance(content, dict)
    if reply.status == 200:
        assert list(content) == ["results"]
    else:
        assert isinstance(content["error"], str | dict)
        assert isinstance(content["code"], str)


@FEW_HUNDRED
@given(path=ACTIONS, body=st.binary(max_size=200))
def test_any_bytes_are_answered(path, body):
    assert_answered(post(path, body))


@FEW_HUNDRED
@given(path=ACTIONS, body=st.binary(max_size=200), cut=st.integers(0, 30))
def test_any_gzip_is_answered(path, body, cut):
    zipped = gzip.compress(body)
    assert_answered(post(path, zipped[: len(zipped) - cut], {"content-encoding": "gzip"}))


@FEW_HUNDRED
@given(path=ACTIONS, content=JSON)
def test_any_json_is_answered(path, content):
    assert_answered(post(path, json.dumps(content).encode()))


@FEW_HUNDRED
@given(path=ACTIONS, content=BODIES)
def test_any_body_of_about_the_right_form_is_answered(path, content):
    assert_answered(post(path, json.dumps(content).encode()))


@FEW_HUNDRED
@given(content=VALID)
def test_a_body_of_the_right_form_gets_results(content):
    reply = post(f"{PATH}/encode/", json.dumps(content).encode())
    assert reply.status == 200
    results = reply.json()["results"]
    assert [result["sequence_index"] for result in results] == list(range(len(content["items"])))


@FEW_HUNDRED
@given(
    slug=st.text(min_size=1, max_size=20),
    action=st.text(max_size=10),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]),
)
def test_any_path_is_answered(slug, action, method):
    reply = asyncio.run(call(APP, method, f"/api/v2/{slug}/{action}"))
    assert reply.status in (400, 404, 405)
    if method == "HEAD":
        assert reply.body == b""
    else:
        assert_answered(reply)


@FEW_HUNDRED
@given(
    encoding=st.text(st.characters(max_codepoint=255), max_size=30),
    authorization=st.text(st.characters(max_codepoint=255), max_size=30),
    cookie=st.text(st.characters(max_codepoint=255), max_size=30),
)
def test_any_headers_are_answered(encoding, authorization, cookie):
    headers = {"content-encoding": encoding, "authorization": authorization, "cookie": cookie}
    assert_answered(post(f"{PATH}/encode/", b'{"items": [{"sequence": "M"}]}', headers))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e400, 10**400])
def test_numbers_that_json_does_not_have_are_refused(number):
    body = json.dumps({"items": [{"sequence": "M"}], "params": {"repr_layers": [number]}})
    reply = post(f"{PATH}/encode/", body.encode())
    assert reply.status == 400
    assert_answered(reply)
