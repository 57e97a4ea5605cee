"""API v1, the open gateway's: its names and its form of a refusal.

What v1 shares with the other generations: test_generations.py. Source of the form of refusals:
docs/api.md of BioLM/biolm-hub at c79c489, which its own server does not keep to.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.wire.dialects import V1
from tests.wire.refusals import ALL, SECRET, Refusal
from tests.wire.server import Answer


def in_v1(refusal: Refusal) -> Refusal:
    """The same request to v1."""

    def moved(text: str) -> str:
        return text.replace("/api/v2/", "/api/v1/")

    says = refusal.says
    if isinstance(says, tuple):
        says = tuple(moved(words) for words in says)
    status = 422 if refusal.status == 400 else refusal.status
    return replace(refusal, path=moved(refusal.path), says=says, status=status)


def check(answer: Answer, refusal: Refusal) -> None:
    assert answer.status == refusal.status, answer.body[:500]
    assert answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert set(content) == {"detail", "errors", "status_code", "code"}
    assert content["code"] == refusal.code
    assert content["status_code"] == refusal.status
    if isinstance(refusal.says, tuple):
        assert content["errors"] == []
        said = {"": (content["detail"], refusal.says)}
    else:
        assert {tuple(error["loc"]) for error in content["errors"]} == {
            ("body", *place.split("__")) for place in refusal.says
        }
        said = {
            place: (error["msg"], refusal.says[place])
            for error in content["errors"]
            for place in ["__".join(error["loc"][1:])]
        }
    for message, words in said.values():
        assert [word for word in words if word not in message] == [], message
        assert message in content["detail"]
    text = answer.body.decode()
    assert SECRET not in text
    assert "Traceback" not in text
    assert len(text) < 1500


REFUSALS = [in_v1(refusal) for refusal in ALL if refusal.path.startswith("/api/")]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name[:60])
def test_a_request_that_cannot_be_answered_is_refused_in_the_hubs_form(guarded, refusal):
    check(refusal.send(guarded), refusal)


def test_every_faulty_place_is_an_error_of_its_own(guarded):
    body = {
        "items": [{"sequence": "J"}, {"sequence": "MKT"}, {}],
        "params": {"repr_layers": [99]},
    }
    content = guarded.post(V1.path("my-slug", "encode"), body).json()
    assert [error["loc"] for error in content["errors"]] == [
        ["body", "items", "0", "sequence"],
        ["body", "items", "2", "sequence"],
        ["body", "params", "repr_layers", "0"],
    ]
    assert all(set(error) == {"loc", "msg"} for error in content["errors"])
    assert content["code"] == "request.invalid"


def test_log_prob_takes_no_masks(guarded):
    answer = guarded.post(V1.path("my-slug", "log_prob"), {"items": [{"sequence": "MK<mask>"}]})
    assert (answer.status, answer.json()["code"]) == (422, "request.mask_not_allowed")


def test_residues_have_the_hubs_name_under_both_words(server):
    for word in ("per_residue", "per_token"):
        [part] = V1.encoded(server, word)["residue_embeddings"]
        assert list(part) == ["layer", "embeddings"]
        assert part["layer"] == 3


def test_columns_stand_right_behind_the_logits_and_nowhere_without_them(server):
    result = V1.encoded(server, "logits", "mean")
    assert list(result) == ["sequence_index", "embeddings", "logits", "vocab_tokens"]
    assert "vocab_tokens" not in V1.encoded(server, "mean", "contacts", "attentions")
