"""`esm2.client.ESM2_8M` and its sisters: biolmai 0.1.10's calls and rows, from the real server."""

from __future__ import annotations

import numpy as np
import pytest

from esm2.client import ESM2_3B, ESM2_8M, ESM2_35M, ESM2_150M, ESM2_650M
from esm2.errors import SettingsError, UnexpectedReply
from tests.wire.scripted import Answer, said, scripted

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"
TOKEN = "second-secret"


def test_the_classes_of_biolmai_have_biolms_slugs():
    found = [kind.slug for kind in (ESM2_8M, ESM2_35M, ESM2_150M, ESM2_650M, ESM2_3B)]
    assert found == ["esm2-8m", "esm2-35m", "esm2-150m", "esm2-650m", "esm2-3b"]


PARAMS = {"include": ["mean", "per_token", "contacts"], "repr_layers": [0, -1]}


def test_encode_gives_biolmais_rows(server):
    [row] = ESM2_8M(url=server.url).encode(PROTEIN, params=PARAMS)
    results = server.results("esm2-8m", "encode", PROTEIN, **PARAMS)
    assert row == {"status_code": 200, "batch_id": 0, "batch_item": 0, "results": results}
    assert list(row) == ["status_code", "batch_id", "batch_item", "results"]


@pytest.mark.parametrize("several", [list, tuple, np.array])
def test_every_sequence_has_a_row_in_order(server, several):
    lengths = [5, 1, 3] * 5
    sequences = several([PROTEIN[:length] for length in lengths])
    rows = ESM2_8M(url=server.url).encode(sequences, params={"include": ["logits"]})
    assert [(row["batch_id"], row["batch_item"]) for row in rows] == [(i, 0) for i in range(15)]
    assert [len(row["results"][0]["logits"]) for row in rows] == lengths
    assert {row["results"][0]["sequence_index"] for row in rows} == {0}


def test_predict_and_infer_are_the_same(server):
    model = ESM2_8M(url=server.url)
    [row] = model.predict("MK<mask>")
    assert [row] == model.infer(["MK<mask>"], params=None)
    assert row["results"] == server.results("esm2-8m", "predict", "MK<mask>")


def test_a_refused_sequence_is_a_row_with_its_error_and_the_others_are_answered(server):
    good, bad = ESM2_8M(multiprocess_threads=2, url=server.url).encode(["MKT", "mkt"])
    assert good["status_code"] == 200
    assert list(bad) == ["status_code", "batch_id", "batch_item", "error", "code", "batch"]
    assert (bad["status_code"], bad["batch_id"], bad["batch"]) == (400, 1, 1)
    assert "residue 1 is 'm'" in bad["error"]["items__0__sequence"][0]
    assert bad["code"] == "request.invalid_sequence"


def test_no_sequences_are_no_rows(server):
    assert ESM2_8M(url=server.url).encode([]) == []


def test_address_and_token_come_from_biolmais_variables(guarded, monkeypatch):
    monkeypatch.setenv("BIOLMAI_BASE_DOMAIN", guarded.url.removeprefix("http://"))
    monkeypatch.setenv("BIOLMAI_TOKEN", TOKEN)
    assert [row["status_code"] for row in ESM2_8M().encode("MKT")] == [200]
    monkeypatch.setenv("BIOLMAI_TOKEN", "")
    [row] = ESM2_8M().encode("MKT")
    assert (row["status_code"], row["code"]) == (401, "auth.unauthenticated")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("BIOLMAI_BASE_DOMAIN", "http://me:secret@host"), ("BIOLMAI_TOKEN", "secret\u00e9")],
)
def test_a_variable_that_cannot_be_used_is_named_and_not_shown(monkeypatch, name, wrong):
    monkeypatch.setenv(name, wrong)
    with pytest.raises(SettingsError, match=f"^{name}: ") as caught:
        ESM2_8M()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"MKT"}, {"a": "MKT"}, b"MKT", 5, None, [None], [b"MKT"], np.array([["MKT"]])]
)
def test_what_is_no_list_of_sequences_is_refused(server, wrong):
    with pytest.raises(TypeError, match=r"sequences(\[0\])? is "):
        ESM2_8M(url=server.url).encode(wrong)


def test_numbers_of_numpy_may_be_params(server):
    model, asked = ESM2_8M(url=server.url), {"include": ["mean"], "repr_layers": [0, 1]}
    for layers in (np.array([0, 1]), [np.int64(0), np.int32(1)]):
        assert model.encode("MKT", asked | {"repr_layers": layers}) == model.encode("MKT", asked)
    with pytest.raises(TypeError, match="there is a set in params, which JSON has no form for"):
        model.encode("MKT", {"include": {"mean"}})


@pytest.mark.parametrize(
    ("threads", "error", "told"),
    [(-1, ValueError, "is -1; at least one is needed"), ("x", TypeError, "is str; pass a whole")],
)
def test_requests_at_once_are_a_number_of_them(threads, error, told):
    with pytest.raises(error, match=f"^multiprocess_threads {told}"):
        ESM2_8M(threads)


def test_params_that_biolmai_would_drop_without_a_word_are_refused(server):
    with pytest.raises(TypeError, match="params is list, not a dict"):
        ESM2_8M(url=server.url).encode("MKT", params=["mean"])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html></html>", {"Content-Type": "text/html"}),
        said(200, {"items": []}),
        said(200, []),
        said(404, []),
    ],
)
def test_what_is_no_answer_of_this_api_is_an_error(answer):
    with scripted(lambda number, request: answer) as server, pytest.raises(UnexpectedReply):
        ESM2_8M(url=server.url).encode("MKT")
