"""The same question in v1, v2 and v3, as JSON and as arrays: the same numbers, other words."""

from __future__ import annotations

import re
import zipfile
from importlib.metadata import version
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest

from tests.near import assert_same
from tests.wire.dialects import (
    BY_LAYER,
    COLUMNS,
    DIALECTS,
    EXAMPLES,
    KINDS,
    MASKED,
    NPZ,
    PROTEIN,
    V1,
    V2,
    V3,
    Arrays,
    Dialect,
    keys_of,
    unpacked,
)
from tests.wire.digits import is_float64_of_float32, read, written

LAYERS, DIM, L = 3, 48, len(PROTEIN)
SHAPES = {
    "mean": (DIM,),
    "per_token": (L, DIM),
    "bos": (DIM,),
    "contacts": (L, L),
    "logits": (L, 20),
    "attentions": (LAYERS, L),
}
PROVENANCE = ("Model", "Weights", "Weights-Kind", "Dtype")
ASKED = [(name, action) for name, dialect in DIALECTS.items() for action in dialect.actions]


@pytest.fixture(params=DIALECTS)
def dialect(request) -> Dialect:
    return DIALECTS[request.param]


def bits(arrays: Arrays) -> dict[str, Any]:
    """Arrays as something that is equal only if every bit is."""
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in sorted(arrays.items())}


# --- one question, one answer ----------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"include": list(KINDS), "repr_layers": [-1, 0, 2]},
        {"include": "per_residue", "repr_layers": 1},
        {"include": ["bos", "mean"], "repr_layers": [-2, -2, 2, -3]},
    ],
    ids=str,
)
def test_encode_gives_the_same_bits_in_every_generation_and_format(server, params):
    replies = [
        dialect.arrays("encode", dialect.ask(server, "encode", PROTEIN, **params))
        for dialect in DIALECTS.values()
    ] + [
        unpacked(dialect.ask(server, "encode", PROTEIN, accept=NPZ, **params))
        for dialect in DIALECTS.values()
    ]
    assert replies[0]
    for one, next_one in pairwise(replies):
        assert bits(one) == bits(next_one)


@pytest.mark.parametrize("action", ["predict", "log_prob"])
def test_the_other_actions_give_the_same_bits_too(server, action):
    sequence = EXAMPLES[action]
    asked = [dialect for dialect in DIALECTS.values() if action in dialect.actions]
    assert len(asked) >= 2
    replies = [d.arrays(action, d.ask(server, action, sequence)) for d in asked]
    replies += [unpacked(d.ask(server, action, sequence, accept=NPZ)) for d in asked]
    assert list(replies[0]) == [{"predict": "0.logits", "log_prob": "0.log_prob"}[action]]
    for one, next_one in pairwise(replies):
        assert bits(one) == bits(next_one)


def test_the_bits_are_those_of_the_engine(server, direct):
    params = {"include": list(KINDS), "repr_layers": [0, 1, 2, 3]}
    got = unpacked(V3.ask(server, "encode", PROTEIN, accept=NPZ, **params))
    [own] = direct("my-slug").encode([PROTEIN], include=KINDS, layers=[0, 1, 2, 3])
    want = {f"0.{kind}.{n}": a for kind in BY_LAYER for n, a in getattr(own, kind).items()}
    want |= {f"0.{kind}": getattr(own, kind) for kind in KINDS if kind not in BY_LAYER}
    assert bits(got) == bits(want)


def test_log_prob_is_the_one_of_the_engine(server, direct):
    got = unpacked(V3.ask(server, "log_prob", PROTEIN, accept=NPZ))["0.log_prob"]
    assert got.shape == ()
    assert got < 0
    assert got == direct("my-slug").log_prob([PROTEIN])[0]


@pytest.mark.parametrize("name", DIALECTS)
def test_arrays_of_many_items_are_named_by_their_place_in_the_request(server, name):
    sequences = ["MKT", PROTEIN, "W"]
    answer = DIALECTS[name].ask(server, "encode", *sequences, accept=NPZ, include=["per_token"])
    shapes = {name: array.shape for name, array in unpacked(answer).items()}
    assert shapes == {"0.per_token.3": (3, 48), "1.per_token.3": (22, 48), "2.per_token.3": (1, 48)}


def test_a_binary_reply_is_not_compressed(server):
    answer = V3.ask(server, "encode", PROTEIN, accept=NPZ)
    with zipfile.ZipFile(BytesIO(answer.body)) as file:
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    "accept", ["application/x-npz", "application/json;q=0.5, Application/X-NPZ;q=0.9"]
)
def test_arrays_come_to_whoever_accepts_them(server, accept):
    assert unpacked(V3.ask(server, "encode", PROTEIN, accept=accept))


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/zip", "text/xml"])
def test_json_comes_to_everybody_else(server, accept):
    answer = V3.ask(server, "encode", PROTEIN, accept=accept)
    assert answer.headers["Content-Type"] == "application/json"


# --- what an answer looks like ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_asked_for_is_there_in_its_shape(server, dialect, kind):
    result = dialect.encoded(server, kind)
    assert list(result) == keys_of(dialect, kind)
    answer = dialect.ask(server, "encode", PROTEIN, include=[kind])
    name = f"0.{kind}.3" if kind in BY_LAYER else f"0.{kind}"
    arrays = dialect.arrays("encode", answer)
    assert {each: array.shape for each, array in arrays.items()} == {name: SHAPES[kind]}


def test_keys_come_in_one_order_whatever_the_order_of_include(server, dialect):
    for include in (KINDS, KINDS[::-1]):
        assert list(dialect.encoded(server, *include)) == keys_of(dialect, *KINDS)


@pytest.mark.parametrize("layers", [[-1, -2, 0], [0, 2, 3, -2], [3, 0, 2, 2, -1]], ids=str)
def test_layers_are_resolved_and_ascend_whatever_the_order_of_the_request(server, dialect, layers):
    result = dialect.encoded(server, *BY_LAYER, repr_layers=layers)
    want = ["0", "2", "3"] if dialect is V2 else [0, 2, 3]
    for kind in BY_LAYER:
        value = result[dialect.keys[kind]]
        assert isinstance(value, dict if dialect is V2 else list)
        assert [layer for layer, _ in dialect.layers(kind, value)] == want


@pytest.mark.parametrize(("name", "action"), ASKED)
def test_nothing_is_null(server, name, action):
    for params in ({}, {"include": ["mean"]}, {"include": list(KINDS)}):
        answer = DIALECTS[name].ask(server, action, EXAMPLES[action], **params)
        assert b"null" not in answer.body


def test_items_are_numbered_in_the_order_of_the_request(server, dialect):
    results = dialect.results(server, "encode", "MKT", PROTEIN, "MKT")
    assert [result["sequence_index"] for result in results] == [0, 1, 2]


@pytest.mark.parametrize(("name", "action"), ASKED)
def test_numbers_have_biolms_digits(server, name, action):
    [result] = DIALECTS[name].results(server, action, EXAMPLES[action], include=list(KINDS))
    digits = list(written(result))
    assert digits
    if action != "log_prob":  # a sum in float64, not a number of the engine's
        assert [each for each in digits if not is_float64_of_float32(each)] == []


def test_per_residue_is_another_word_for_per_token(server, dialect):
    answers = {
        dialect.ask(server, "encode", PROTEIN, include=include).body
        for include in (["per_token"], ["per_residue"], ["per_residue", "per_token"], "per_residue")
    }
    assert len(answers) == 1


def test_logits_come_with_their_columns_where_the_generation_says_them(server, dialect):
    [predicted] = dialect.results(server, "predict", MASKED)
    key = dialect.columns["predict"]
    assert list(predicted) == ["logits", "sequence_tokens", key]
    assert predicted[key] == COLUMNS
    assert predicted["sequence_tokens"] == [*"MKTAYI", "<mask>", *"KQRQISFVKSHFSRQ"]
    encoded = dialect.encoded(server, "logits")
    if "encode" in dialect.columns:
        assert encoded[dialect.columns["encode"]] == COLUMNS


@pytest.mark.parametrize("name", ["v1", "v3"])
def test_log_prob_is_one_number_for_each_item(server, direct, name):
    results = DIALECTS[name].results(server, "log_prob", PROTEIN, "X", "MKT")
    assert [list(result) for result in results] == [["log_prob"]] * 3
    got = [float(result["log_prob"]) for result in results]
    want = [direct("my-slug").log_prob([sequence])[0] for sequence in (PROTEIN, "X", "MKT")]
    assert_same(got, want)
    assert got[1] == 0


def test_log_prob_is_unknown_to_the_generation_that_had_none(server):
    answer = server.post(V2.path("my-slug", "log_prob"), {"items": [{"sequence": "MKT"}]})
    assert (answer.status, answer.json()["code"]) == (404, "http.not_found")


# --- addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "action"), ASKED)
def test_both_spellings_of_an_address_are_answered(server, name, action):
    body = {"items": [{"sequence": EXAMPLES[action]}]}
    paths = [DIALECTS[name].path("my-slug", action, slash=slash) for slash in (True, False)]
    answers = [server.post(path, body) for path in [*paths, paths[0].replace("my-s", "MY-S")]]
    assert [answer.status for answer in answers] == [200] * 3
    assert len({answer.body for answer in answers}) == 1


# --- where numbers come from -----------------------------------------------------------------


@pytest.mark.parametrize("accept", [NPZ, "application/json"])
@pytest.mark.parametrize(("name", "action"), ASKED)
def test_every_reply_of_a_model_says_where_its_numbers_come_from(server, name, action, accept):
    models = {model["slug"]: model for model in server.get("/info").json()["models"]}
    for slug in ("MY-SLUG", "esm2-demo"):
        answer = DIALECTS[name].ask(server, action, EXAMPLES[action], slug=slug, accept=accept)
        model = models[slug.lower()]
        said = [answer.headers[f"X-ESM2-{name}"] for name in PROVENANCE]
        fields = ("slug", "weights_sha256", "weights_kind", "dtype")
        assert said == [model[field] for field in fields]
        assert answer.headers["X-ESM2-Version"] == version("esm2")
    assert re.fullmatch(r"[0-9a-f]{64}", models["esm2-demo"]["weights_sha256"])
    assert answer.headers["X-ESM2-Weights-Kind"] == "demo"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", V3.path("my-slug", "encode"), b"junk", 400),
        ("POST", V1.path("my-slug", "encode"), b"junk", 422),
        ("POST", V3.path("no-such", "encode"), b"junk", 404),
        ("POST", V3.path("my-slug", "encode"), b" " * 4097, 413),
        ("GET", V3.path("my-slug", "encode"), b"", 405),
        ("GET", "/nothing", b"", 404),
        ("GET", "/health/ready", b"", 200),
        ("GET", "/info", b"", 200),
        ("GET", "/", b"", 200),
        ("GET", "/api/v3/schema/my-slug/encode/", b"", 200),
        ("POST", "/api/v1/auth/login-check/", b"", 200),
    ],
)
def test_every_other_reply_says_the_version_and_no_model(guarded, method, path, body, status):
    answer = guarded.request(method, path, body)
    assert answer.status == status
    assert answer.headers["X-ESM2-Version"] == version("esm2")
    assert [name for name in PROVENANCE if f"X-ESM2-{name}" in answer.headers] == []


def test_a_refusal_for_want_of_a_token_says_the_version(guarded):
    answer = guarded.post(V3.path("my-slug", "encode"), {}, {"Authorization": None})
    assert (answer.status, answer.headers["X-ESM2-Version"]) == (401, version("esm2"))


def test_refusals_stay_json_for_whoever_accepts_arrays(guarded):
    for dialect in DIALECTS.values():
        path = dialect.path("my-slug", "encode")
        answer = guarded.post(path, {"items": []}, {"Accept": NPZ})
        assert (answer.status, answer.headers["Content-Type"]) == (
            dialect.faulty,
            "application/json",
        )
        assert read(answer.body)["code"] == "request.invalid"
