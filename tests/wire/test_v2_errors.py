"""Every refusal: the status, the code, the place, what to do, and never a sequence or a 500."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.refusals import ALL, ENCODE, GOOD, SECRET, Refusal
from tests.wire.server import Answer

#: No message needs more than this for one fault.
SHORT = 1000


def messages(error: Any, says: Any) -> list[tuple[str, tuple[str, ...]]]:
    """Each message of an `error` with the words that it must have."""
    if isinstance(says, tuple):
        assert isinstance(error, str)
        return [(error, says)]
    assert list(error) == list(says), "other places are named"
    assert all(isinstance(each, list) and each for each in error.values())
    return [(" ".join(error[place]), words) for place, words in says.items()]


def check(answer: Answer, refusal: Refusal) -> None:
    assert answer.status == refusal.status, answer.body[:500]
    assert answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert isinstance(content, dict)
    assert content["code"] == refusal.code
    assert set(content) <= {"error", "code", "detail"}
    for message, words in messages(content["error"], refusal.says):
        assert [word for word in words if word not in message] == [], message
    text = answer.body.decode()
    assert SECRET not in text
    assert "secret" not in text
    assert "Traceback" not in text
    assert len(text) < SHORT


def test_the_names_of_the_table_are_unique():
    names = [refusal.name for refusal in ALL]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("refusal", ALL, ids=lambda refusal: refusal.name[:60])
def test_a_request_that_cannot_be_answered_is_refused_with_the_reason(guarded, refusal):
    check(refusal.send(guarded), refusal)


def test_a_refusal_for_want_of_a_token_says_how_to_show_one(guarded):
    answer = guarded.post(ENCODE, {"items": [GOOD]}, {"Authorization": None})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert answer.json()["detail"] == answer.json()["error"]


def test_a_wrong_method_names_the_right_one_in_a_header(guarded):
    assert guarded.get(ENCODE).headers["Allow"] == "POST"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_no_method_but_post_computes(guarded, method):
    answer = guarded.request(method, ENCODE)
    assert answer.status == 405
    assert answer.headers["Content-Type"] == "application/json"
    assert bool(answer.body) == (method != "HEAD")


# --- the other side of each limit ------------------------------------------------------------


def test_the_longest_sequence_passes_a_mask_being_one_residue(guarded):
    [result] = guarded.results("my-slug", "predict", "<mask>" * 300)
    assert len(result["logits"]) == 300
    assert len(guarded.results("my-slug", "encode", "M" * 300)) == 1


def test_as_many_items_as_allowed_pass(guarded):
    assert len(guarded.results("my-slug", "encode", *["MKT"] * 3)) == 3


def test_a_body_of_exactly_the_limit_passes(guarded):
    body = b'{"items": [{"sequence": "MKT"}]}'.ljust(4096)
    assert guarded.post(ENCODE, body).status == 200


def test_the_outermost_layers_pass(guarded):
    [result] = guarded.results("my-slug", "encode", "MKT", repr_layers=[-4, 3])
    assert list(result["mean_representations"]) == ["0", "3"]


def test_a_checkpoint_without_contact_head_gives_everything_else(guarded):
    kinds = ["mean", "per_token", "bos", "logits", "attentions"]
    [result] = guarded.results("headless", "encode", "MKT", include=kinds)
    assert len(result) == 1 + len(kinds)


def test_faults_of_different_nature_are_all_named(guarded):
    body = {"items": [GOOD, {"sequence": 5}, {"sequence": "J"}]}
    error = guarded.post(ENCODE, body).json()["error"]
    assert list(error) == ["items__1__sequence", "items__2__sequence"]


# --- refusals stay small ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"items": [{"sequence": ""}] * 20_000},
        {"items": [{"sequence": 1}] * 20_000},
        {"items": [1] * 20_000},
        {"items": [{"sequence": "M"}], "params": {"repr_layers": [99] * 20_000}},
        {"items": [{"sequence": "M"}], "params": {"repr_layers": ["99"] * 20_000}},
        {"items": [{"sequence": "M"}], "params": {"include": ["no"] * 20_000}},
        {"items": [{"sequence": "M"}]} | {f"field{number}": 1 for number in range(20_000)},
        {"items": [{"sequence": "M"}], "MKT" * 10_000: 1},
    ],
    ids=[
        "empty sequences",
        "numbers for sequences",
        "numbers for items",
        "layers",
        "strings for layers",
        "includes",
        "fields",
        "the name of a field",
    ],
)
def test_a_refusal_is_short_however_much_is_wrong(server, body):
    answer = server.post(ENCODE, body)
    assert answer.status == 400
    assert len(answer.body) < 10 * SHORT


def test_a_refusal_of_an_unknown_path_is_short(server):
    answer = server.get("/" + "x" * 20_000)
    assert answer.status == 404
    assert len(answer.body) < SHORT


@pytest.mark.parametrize("name", ["name", "repr_layer", "_id", "reprLayers"])
def test_an_unknown_field_that_looks_like_one_is_named(guarded, name):
    refused = guarded.post(ENCODE, {"items": [GOOD], name: 1})
    assert refused.json()["error"] == {name: ["unknown field; see /docs for the fields there are"]}


@pytest.mark.parametrize(
    "name", [SECRET, SECRET.lower(), SECRET[:6], f"seq_{SECRET}", SECRET.title(), "\u0430" * 5, ""]
)
@pytest.mark.parametrize("place", ["body", "item", "params"])
def test_a_sequence_where_a_field_should_be_is_not_repeated(guarded, name, place):
    body = {"items": [GOOD], "params": {}}
    if place == "item":
        body["items"] = [{**GOOD, name: 1}]
    else:
        (body if place == "body" else body["params"])[name] = 1
    refused = guarded.post(ENCODE, body)
    assert refused.status == 400
    assert "(a name that is not shown)" in refused.body.decode()
    assert not name or name not in refused.body.decode()
