"""POST /api/v2/{slug}/predict/: logits of masked proteins, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.near import assert_same
from tests.wire.digits import float32, is_float64_of_float32, read, written

PATH = "/api/v2/my-slug/predict/"
MASKED = "MKTAYI<mask>KQRQISFVKSHFSRQ"
KEYS = ["logits", "sequence_tokens", "alphabet_tokens"]
#: The columns, as BioLM's documentation lists them.
ALPHABET = list("LAGVSERTIDPKQNFYMHWC")


def predict(server, *sequences: str, **more: object):
    items = [{"sequence": sequence} for sequence in sequences]
    answer = server.post(PATH, {"items": items, **more})
    assert answer.status == 200, answer.body[:500]
    content = read(answer.body)
    assert list(content) == ["results"]
    return content["results"]


def test_an_answer_has_exactly_the_documented_keys_in_their_order(server):
    [result] = predict(server, MASKED)
    assert list(result) == KEYS
    assert result["alphabet_tokens"] == ALPHABET
    assert result["sequence_tokens"] == [*"MKTAYI", "<mask>", *"KQRQISFVKSHFSRQ"]
    assert float32(result["logits"]).shape == (22, 20)


@pytest.mark.parametrize(
    ("sequence", "tokens"),
    [
        ("<mask>", ["<mask>"]),
        ("<mask>M", ["<mask>", "M"]),
        ("M<mask>", ["M", "<mask>"]),
        ("M<mask><mask>K", ["M", "<mask>", "<mask>", "K"]),
        ("<mask>" * 30, ["<mask>"] * 30),
        ("XBUZO.-<mask>", [*"XBUZO.-", "<mask>"]),
        ("<mask>MKT<mask>AYI<mask>", ["<mask>", *"MKT", "<mask>", *"AYI", "<mask>"]),
    ],
)
def test_any_number_of_masks_anywhere_each_of_them_one_residue(server, direct, sequence, tokens):
    [result] = predict(server, sequence)
    assert result["sequence_tokens"] == tokens
    assert np.array_equal(float32(result["logits"]), direct("my-slug").predict([sequence])[0])


def test_the_numbers_are_those_of_the_engine_in_biolms_digits(server, direct):
    [result] = predict(server, MASKED)
    assert np.array_equal(float32(result["logits"]), direct("my-slug").predict([MASKED])[0])
    digits = list(written(result["logits"]))
    assert len(digits) == 22 * 20, "a number is an integer"
    assert [each for each in digits if not is_float64_of_float32(each)] == []


@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        {"include": ["mean", "logits", "attentions"]},
        {"include": "mean"},
        {"include": ["contacts"], "repr_layers": [0, -1]},
        {"repr_layers": 1},
        {"include": ["means"], "more": {"a": [1]}},
        [],
        "mean",
    ],
    ids=json.dumps,
)
def test_params_are_accepted_and_change_nothing(server, params):
    want = server.post(PATH, {"items": [{"sequence": MASKED}]})
    got = server.post(PATH, {"items": [{"sequence": MASKED}], "params": params})
    assert (got.status, got.body) == (200, want.body)


def test_items_are_answered_in_order(server, direct):
    sequences = ["<mask>", MASKED, "MK<mask>", "<mask>W<mask>"]
    results = predict(server, *sequences)
    for sequence, result in zip(sequences, results, strict=True):
        assert "".join(result["sequence_tokens"]) == sequence
        [want] = direct("my-slug").predict([sequence])
        assert_same(float32(result["logits"]), want)


def test_a_checkpoint_without_contact_head_predicts(server, direct):
    [result] = server.results("headless", "predict", MASKED)
    want = direct("headless").predict([MASKED])[0]
    assert np.array_equal(np.float32(result["logits"]), want)


@pytest.mark.parametrize("params", [{"include": ["contacts"]}, {"repr_layers": [33]}], ids=str)
def test_params_change_nothing_even_where_the_model_could_not_follow_them(server, params):
    body = {"items": [{"sequence": MASKED}]}
    want = server.post("/api/v2/headless/predict/", body)
    got = server.post("/api/v2/headless/predict/", {**body, "params": params})
    assert (got.status, got.body) == (200, want.body)


@pytest.mark.parametrize("path", ["/api/v2/My-SLUG/predict/", "/api/v2/my-slug/predict"])
def test_the_slash_and_the_case_of_the_slug_do_not_matter(server, path):
    body = {"items": [{"sequence": MASKED}]}
    want = server.post(PATH, body)
    got = server.post(path, body)
    assert (got.status, got.body) == (200, want.body)
