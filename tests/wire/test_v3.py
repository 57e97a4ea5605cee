"""API v3: answers built like BioLM's recorded ones, refusals like v2's.

What v3 shares with the other generations: test_generations.py. Its numbers differ from the recorded
ones because the models do; what a number means is proven against fair-esm in tests/engine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.wire.dialects import COLUMNS, PROTEIN, V3
from tests.wire.digits import Digits, is_float64_of_float32, read, written
from tests.wire.refusals import ALL, Refusal
from tests.wire.test_v2_errors import check

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
WHOLE = (
    *("8m_encode", "150m_encode", "650m_encode"),
    *("8m_predict", "35m_predict", "150m_predict", "650m_predict"),
)
#: Theirs -> name, ours -> name. Nothing else depends on the model.
THEIR_DIM = {320: "D", 480: "D", 640: "D", 1280: "D", 2560: "D"}
OUR_DIM = {48: "D"}
#: The request for 35m asks for layer 6, which our model of 3 layers does not have.
OUR_LAYERS = {6: 1}
CUT = "... (truncated for documentation)"


def recording(name: str) -> dict[str, Any]:
    path = GOLDEN / f"v3_esm2-{name}.json"
    if not path.exists():
        pytest.skip(f"BioLM's recorded answers are not here ({path})")
    return read(path.read_bytes())


def asked(server, recorded: dict[str, Any], action: str) -> dict[str, Any]:
    """Our answer to the request of a recorded one."""
    request = recorded["request_used"]
    layers = request.get("params", {}).get("repr_layers", [-1])
    params = request.get("params", {}) | {"repr_layers": [OUR_LAYERS.get(n, n) for n in layers]}
    answer = server.post(V3.path("my-slug", action), request | {"params": params})
    assert answer.status == 200, answer.body[:500]
    return read(answer.body)


def skeleton(value: Any, dims: dict[int, str]) -> Any:
    """Keys in order, nesting, lengths and kinds; the dimension of a model by its name."""
    if isinstance(value, dict):
        # Absent from every recording that is not cut, there in most of those that are.
        return [(k, skeleton(v, dims)) for k, v in value.items() if k != "sequence_index"]
    if isinstance(value, list):
        parts = [skeleton(part, dims) for part in value]
        if all(part == parts[0] for part in parts):
            return [dims.get(len(parts), len(parts)), parts[0]]
        return parts
    return "number" if isinstance(value, Digits) else type(value).__name__


def keys(value: Any) -> Any:
    """Keys in order and kinds, without the lengths, which a cut recording has lost."""
    if isinstance(value, dict):
        return [(key, keys(part)) for key, part in value.items()]
    if isinstance(value, list):
        return [keys(value[0])]
    return "number" if isinstance(value, Digits) else type(value).__name__


# --- as recorded -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE)
def test_our_answer_is_built_like_the_recorded_one(server, name):
    recorded = recording(name)
    ours = asked(server, recorded, name.partition("_")[2])
    assert skeleton(ours, OUR_DIM) == skeleton(recorded["response"], THEIR_DIM)


@pytest.mark.parametrize("model", ["8m", "35m", "150m", "650m", "3b"])
def test_keys_come_in_the_recorded_order_with_sequence_index_first(server, model):
    recorded = recording(f"{model}_encode_prefix")
    for ours, theirs in zip(
        asked(server, recorded, "encode")["results"],
        recorded["response_prefix"]["results"],
        strict=True,
    ):
        assert next(iter(ours)) == "sequence_index"
        assert keys(ours)["sequence_index" not in theirs :] == keys(theirs)
        if "sequence_index" in theirs:
            assert ours["sequence_index"] == theirs["sequence_index"]


@pytest.mark.parametrize("model", ["35m", "3b", "650m", "8m"])
def test_a_prediction_begins_like_the_recorded_one(server, model):
    recorded = recording(f"{model}_predict_prefix")
    for ours, theirs in zip(
        asked(server, recorded, "predict")["results"],
        recorded["response_prefix"]["results"],
        strict=True,
    ):
        assert keys(ours) == keys(theirs)
        for key in ("sequence_tokens", "vocab_tokens"):
            begin = [token for token in theirs[key] if token != CUT]
            assert begin
            assert ours[key][: len(begin)] == begin


@pytest.mark.parametrize("name", [*WHOLE, "35m_encode"])
def test_their_digits_are_the_ones_we_write(name):
    digits = list(written(recording(name)["response"]))
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
