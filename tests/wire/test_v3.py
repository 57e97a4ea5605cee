"""API v3: answers built like BioLM's recorded ones, refusals like v2's.

What v3 shares with the other generations: test_generations.py. Its numbers differ from the recorded
ones because the models do; what a number means is proven against fair-esm in tests/engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.wire.dialects import COLUMNS, PROTEIN, V3
from tests.wire.digits import Digits, is_float64_of_float32, read
from tests.wire.forms import OURS, cut_form, form, recorded_forms
from tests.wire.refusals import ALL, Refusal
from tests.wire.test_v2_errors import check

RECORDED = recorded_forms()
WHOLE = (
    *("8m_encode", "150m_encode", "650m_encode"),
    *("8m_predict", "35m_predict", "150m_predict", "650m_predict"),
)
#: The request for 35m asks for layer 6, which our model of 3 layers does not have.
OUR_LAYERS = {6: 1}


def recording(name: str) -> dict[str, Any]:
    return RECORDED[f"v3_esm2-{name}"]


def asked(server, recorded: dict[str, Any], action: str) -> list[dict[str, Any]]:
    """Our results for the request of a recorded answer."""
    request = recorded["request"]
    layers = request.get("params", {}).get("repr_layers", [-1])
    params = request.get("params", {}) | {"repr_layers": [OUR_LAYERS.get(n, n) for n in layers]}
    answer = server.post(V3.path("my-slug", action), request | {"params": params})
    assert answer.status == 200, answer.body[:500]
    content = read(answer.body)
    assert list(content) == ["results"]
    return content["results"]


# --- as recorded -----------------------------------------------------------------------------


def unnumbered(result: dict[str, Any]) -> dict[str, Any]:
    """A result without its sequence_index, which only some of the recorded ones have."""
    return {key: value for key, value in result.items() if key != "sequence_index"}


@pytest.mark.parametrize("name", WHOLE)
def test_our_answer_is_built_like_the_recorded_one(server, name):
    recorded = recording(name)
    results = [unnumbered(result) for result in asked(server, recorded, name.partition("_")[2])]
    assert form({"results": results}, OURS) == recorded["form"]


@pytest.mark.parametrize("model", ["8m", "35m", "150m", "650m", "3b"])
def test_keys_come_in_the_recorded_order_with_sequence_index_first(server, model):
    recorded = recording(f"{model}_encode_prefix")
    for ours, theirs in zip(asked(server, recorded, "encode"), recorded["results"], strict=True):
        assert next(iter(ours)) == "sequence_index"
        assert cut_form(ours if theirs["said"] else unnumbered(ours)) == theirs["form"]
        for key, said in theirs["said"].items():
            assert ours[key] == said


@pytest.mark.parametrize("model", ["35m", "3b", "650m", "8m"])
def test_a_prediction_begins_like_the_recorded_one(server, model):
    recorded = recording(f"{model}_predict_prefix")
    for ours, theirs in zip(asked(server, recorded, "predict"), recorded["results"], strict=True):
        assert cut_form(ours) == theirs["form"]
        for key in ("sequence_tokens", "vocab_tokens"):
            begin = theirs["said"][key]
            assert begin
            assert ours[key][: len(begin)] == begin


@pytest.mark.parametrize("name", [*WHOLE, "35m_encode"])
def test_their_digits_are_the_ones_we_write(name):
    digits = [Digits(each) for each in recording(name)["digits"].split()]
    assert len(digits) >= 180
    assert [each for each in digits if not is_float64_of_float32(each)] == []


# --- without recordings ----------------------------------------------------------------------


def test_a_layer_is_a_number_beside_its_embedding(server):
    result = V3.encoded(server, "mean", "bos", "per_token", repr_layers=[-1, -4])
    for key, inner in (
        ("embeddings", "embedding"),
        ("bos_embeddings", "embedding"),
        ("per_token_embeddings", "embeddings"),
    ):
        assert [list(part) for part in result[key]] == [["layer", inner]] * 2
        assert [part["layer"] for part in result[key]] == [0, 3]


def test_columns_stand_right_behind_the_logits_and_nowhere_without_them(server):
    assert list(V3.encoded(server, "mean", "logits")) == [
        "sequence_index",
        "embeddings",
        "logits",
        "vocab_tokens",
    ]
    assert V3.encoded(server, "logits")["vocab_tokens"] == COLUMNS
    assert "vocab_tokens" not in V3.encoded(server, "mean", "contacts", "attentions")


def test_log_prob_takes_the_params_of_encode_and_ignores_them(server):
    body = {"items": [{"sequence": PROTEIN}]}
    path = V3.path("my-slug", "log_prob")
    want = server.post(path, body)
    got = server.post(path, body | {"params": {"include": ["contacts"], "repr_layers": [99]}})
    assert (got.status, got.body) == (200, want.body)


# --- refusals --------------------------------------------------------------------------------


def in_v3(refusal: Refusal) -> Refusal:
    """The same request to v3."""

    def moved(text: str) -> str:
        return text.replace("/api/v2/", "/api/v3/")

    says = refusal.says
    if isinstance(says, tuple):
        says = tuple(moved(words) for words in says)
    return replace(refusal, path=moved(refusal.path), says=says)


REFUSALS = [in_v3(refusal) for refusal in ALL if refusal.path.startswith("/api/")]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name[:60])
def test_a_request_that_cannot_be_answered_is_refused_as_in_v2(guarded, refusal):
    check(refusal.send(guarded), refusal)


def test_log_prob_takes_no_masks_and_says_where_they_are(guarded):
    body = {"items": [{"sequence": "MKT"}, {"sequence": "MK<mask>"}]}
    answer = guarded.post(V3.path("my-slug", "log_prob"), body)
    assert (answer.status, answer.json()["code"]) == (400, "request.mask_not_allowed")
    assert list(answer.json()["error"]) == ["items__1__sequence"]
