"""POST /api/v2/{slug}/encode/: what is asked for comes, under BioLM's names, in BioLM's order."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from esm2 import Model
from tests.near import assert_same
from tests.wire.digits import float32, is_float64_of_float32, read, written

PATH = "/api/v2/my-slug/encode/"
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"
ITEMS = [{"sequence": PROTEIN}]

#: include -> its key in the answer, in the order of BioLM's recorded answers.
KEYS = {
    "per_token": "representations",
    "mean": "mean_representations",
    "bos": "bos_representations",
    "contacts": "contacts",
    "logits": "logits",
    "attentions": "attentions",
}
BY_LAYER = ("per_token", "mean", "bos")
LAYERS, DIM, L = 3, 48, len(PROTEIN)
SHAPES = {
    "per_token": (L, DIM),
    "mean": (DIM,),
    "bos": (DIM,),
    "contacts": (L, L),
    "logits": (L, 20),
    "attentions": (LAYERS, L),
}


def encode(server, params: object, items: list[Any] = ITEMS) -> list[dict[str, Any]]:
    answer = server.post(PATH, {"items": items, "params": params})
    assert answer.status == 200, answer.body[:500]
    content = read(answer.body)
    assert list(content) == ["results"]
    return content["results"]


def expected(
    model: Model, kinds: list[str], layers: list[int], sequence: str = PROTEIN
) -> dict[str, Any]:
    """The answer's numbers from the engine in this process."""
    [outputs] = model.encode([sequence], include=kinds, layers=layers)
    return {
        KEYS[kind]: (
            {str(layer): array for layer, array in getattr(outputs, kind).items()}
            if kind in BY_LAYER
            else getattr(outputs, kind)
        )
        for kind in kinds
    }


def same(got: Any, want: Any) -> bool:
    if isinstance(want, dict):
        return list(got) == list(want) and all(same(got[key], want[key]) for key in want)
    return np.array_equal(float32(got), want)


# --- what comes ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEYS)
def test_only_what_is_asked_for_is_there_in_its_shape(server, kind):
    [result] = encode(server, {"include": [kind]})
    assert list(result) == ["sequence_index", KEYS[kind]]
    value = result[KEYS[kind]]
    if kind in BY_LAYER:
        assert list(value) == [str(LAYERS)]
        value = value[str(LAYERS)]
    assert float32(value).shape == SHAPES[kind]


def test_keys_come_in_the_recorded_order_whatever_the_order_of_include(server):
    [result] = encode(server, {"include": list(reversed(KEYS))})
    assert list(result) == ["sequence_index", *KEYS.values()]


def test_the_numbers_are_those_of_the_engine(server, direct):
    layers = list(range(LAYERS + 1))
    [result] = encode(server, {"include": list(KEYS), "repr_layers": layers})
    want = expected(direct("my-slug"), list(KEYS), layers)
    for key, value in want.items():
        assert same(result[key], value), key


@pytest.mark.parametrize("kind", KEYS)
def test_an_output_asked_for_alone_is_that_of_the_engine(server, direct, kind):
    [result] = encode(server, {"include": [kind], "repr_layers": [1]})
    assert same(result[KEYS[kind]], expected(direct("my-slug"), [kind], [1])[KEYS[kind]])


def test_every_number_has_the_digits_of_the_float64_of_a_float32(server):
    [result] = encode(server, {"include": list(KEYS), "repr_layers": [0, -1]})
    digits = list(written(result))
    assert len(digits) == 2 * (L + 2) * DIM + L * L + 20 * L + LAYERS * L, "a number is an integer"
    assert [each for each in digits if not is_float64_of_float32(each)] == []


def test_contacts_are_symmetric_probabilities(server):
    [result] = encode(server, {"include": ["contacts"]})
    contacts = float32(result["contacts"])
    np.testing.assert_allclose(contacts, contacts.T, rtol=0, atol=1e-5)
    assert contacts.min() >= 0
    assert contacts.max() <= 1


@pytest.mark.parametrize(
    "sequence", ["M", "-", "XBUZO.-", "ACDEFGHIKLMNPQRSTVWY", PROTEIN * 14 + "MK"]
)
def test_every_letter_of_the_model_and_any_length_is_welcome(server, direct, sequence):
    [result] = encode(server, {"include": ["per_token", "logits"]}, [{"sequence": sequence}])
    assert len(result["logits"]) == len(sequence)
    want = expected(direct("my-slug"), ["per_token", "logits"], [-1], sequence)
    assert same({key: result[key] for key in want}, want)


def test_the_longest_sequence_that_is_published_is_answered(server):
    limit = server.get("/info").json()["limits"]["max_residues"]
    assert limit == 2048
    [result] = encode(server, {"include": ["attentions"]}, [{"sequence": "M" * limit}])
    assert len(result["attentions"][0]) == limit


# --- params ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"items": ITEMS},
        {"items": ITEMS, "params": None},
        {"params": {}, "items": ITEMS},
        {"items": ITEMS, "params": {"include": ["mean"]}},
        {"items": ITEMS, "params": {"include": "mean"}},
        {"items": ITEMS, "params": {"include": ["mean", "mean"]}},
        {"items": ITEMS, "params": {"repr_layers": [-1]}},
        {"items": ITEMS, "params": {"repr_layers": -1}},
        {"items": ITEMS, "params": {"repr_layers": LAYERS}},
    ],
    ids=lambda body: json.dumps(body.get("params", "absent")),
)
def test_the_default_is_the_mean_at_the_last_layer(server, direct, body):
    answer = server.post(PATH, body)
    assert answer.status == 200
    [result] = read(answer.body)["results"]
    assert list(result) == ["sequence_index", "mean_representations"]
    want = expected(direct("my-slug"), ["mean"], [-1])
    assert same(result["mean_representations"], want["mean_representations"])


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ([-1], ["3"]),
        ([-2], ["2"]),
        ([0], ["0"]),
        ([-4], ["0"]),
        ([3, 0, 1], ["0", "1", "3"]),
        ([-1, 3, 3], ["3"]),
        ([0, -4, 1, -3], ["0", "1"]),
        ([-1, -2, -3, -4], ["0", "1", "2", "3"]),
        (2, ["2"]),
        (-3, ["1"]),
    ],
    ids=str,
)
def test_layers_are_keyed_by_the_resolved_number_once_and_ascending(server, direct, asked, keys):
    [result] = encode(server, {"include": list(BY_LAYER), "repr_layers": asked})
    want = expected(direct("my-slug"), list(BY_LAYER), [int(key) for key in keys])
    for kind in BY_LAYER:
        assert list(result[KEYS[kind]]) == keys
        assert same(result[KEYS[kind]], want[KEYS[kind]])


def test_many_layers_ascend_as_numbers_not_as_text(direct, reference):
    shape = direct("my-slug").decided.shape
    assert shape.layers < 10, "layers of the served model have one digit"
    from esm2.server.v2 import DIALECT
    from esm2.types import Outputs

    own = Outputs(mean={layer: np.zeros(1, np.float32) for layer in (33, 4, 10, 0)})
    [result] = DIALECT.encode_answer([], [own])["results"]
    assert list(result["mean_representations"]) == ["0", "4", "10", "33"]


def test_a_bare_word_and_a_bare_number_are_lists_of_one(server):
    bare = server.post(PATH, {"items": ITEMS, "params": {"include": "bos", "repr_layers": 0}})
    listed = server.post(PATH, {"items": ITEMS, "params": {"include": ["bos"], "repr_layers": [0]}})
    assert bare.status == listed.status == 200
    assert bare.body == listed.body


@pytest.mark.parametrize("include", ["per_residue", ["per_residue"], ["per_token", "per_residue"]])
def test_per_residue_is_another_word_for_per_token(server, include):
    want = server.post(PATH, {"items": ITEMS, "params": {"include": ["per_token"]}})
    got = server.post(PATH, {"items": ITEMS, "params": {"include": include}})
    assert got.status == want.status == 200
    assert got.body == want.body


# --- items -----------------------------------------------------------------------------------


def test_items_are_answered_in_order_and_numbered(server, direct):
    sequences = ["MKT", PROTEIN, "M", PROTEIN[::-1], "MKT"]
    items = [{"sequence": sequence} for sequence in sequences]
    results = encode(server, {"include": ["mean", "logits", "contacts"]}, items)
    assert [result["sequence_index"] for result in results] == [0, 1, 2, 3, 4]
    for sequence, result in zip(sequences, results, strict=True):
        want = expected(direct("my-slug"), ["mean", "logits", "contacts"], [-1], sequence)
        for key in ("logits", "contacts"):
            assert_same(float32(result[key]), want[key], key)
        mean = float32(result["mean_representations"][str(LAYERS)])
        assert_same(mean, want["mean_representations"][str(LAYERS)])


def test_as_many_items_as_are_published_are_answered(server):
    limit = server.get("/info").json()["limits"]["max_items"]
    assert limit == 8
    assert len(encode(server, {}, [{"sequence": "MKT"}] * limit)) == limit


# --- paths, names, headers -------------------------------------------------------------------


def test_the_final_slash_may_be_left_out_and_nothing_is_redirected(server):
    with_slash = server.post("/api/v2/my-slug/encode/", {"items": ITEMS})
    without = server.post("/api/v2/my-slug/encode", {"items": ITEMS})
    assert (with_slash.status, without.status) == (200, 200)
    assert with_slash.body == without.body


@pytest.mark.parametrize("slug", ["my-slug", "My-Slug", "MY-SLUG"])
def test_a_slug_matches_in_any_case(server, slug):
    want = server.post(PATH, {"items": ITEMS})
    got = server.post(f"/api/v2/{slug}/encode/", {"items": ITEMS})
    assert (got.status, got.body) == (200, want.body)


@pytest.mark.parametrize(
    "name",
    ["esm2-8m", "ESM2-8M", "esm2-8M", "esm2_8m", "8m", "esm2_t6_8M_UR50D", "ESM2_T6_8M_UR50D"],
)
def test_every_spelling_of_a_known_model_reaches_it(server, direct, name):
    answer = server.post(f"/api/v2/{name}/encode/", {"items": ITEMS})
    assert answer.status == 200
    [result] = read(answer.body)["results"]
    assert same(
        result["mean_representations"],
        expected(direct("esm2-8m"), ["mean"], [-1])["mean_representations"],
    )


def test_the_demo_is_always_served(server):
    [result] = server.results("esm2-demo", "encode", PROTEIN)
    assert list(result) == ["sequence_index", "mean_representations"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        "application/x-www-form-urlencoded",
    ],
)
def test_the_body_is_json_whatever_the_content_type_says(server, content_type):
    answer = server.post(PATH, {"items": ITEMS}, {"Content-Type": content_type})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert "error" not in answer.json()
