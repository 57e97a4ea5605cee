"""A checkpoint without a language head, served: what its trunk gives works, the rest is refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import esm2
from esm2.client import Client
from esm2.errors import LogitsUnavailable
from tests.checkpoints import hf_config, hf_tensors, write_hf
from tests.wire.server import Server, serving

ITEM, MASKED = {"sequence": "MKTAYIAKQR"}, {"sequence": "MKT<mask>YIAKQR"}
VARIANTS = {"sequence": "MKTAYIAKQR", "variants": ["K2A"]}
SENTENCE = "tuned has no language head: its checkpoint came without lm_head weights"


@pytest.fixture(scope="module")
def checkpoint(reference, tmp_path_factory):
    model = reference("tiny").model
    tensors = {n: t for n, t in hf_tensors(model).items() if not n.startswith("lm_head.")}
    tensors["classifier.weight"] = tensors["esm.embeddings.word_embeddings.weight"][:2]
    return write_hf(tmp_path_factory.mktemp("tuned") / "tuned", hf_config(model), tensors)


@pytest.fixture(scope="module")
def server(checkpoint) -> Iterator[Server]:
    with serving(f"--model=tuned={checkpoint}", "--workers=2", tokens="") as running:
        yield running
        status, stderr = running.stop()
    assert status == 0
    (told,) = [line for line in stderr.splitlines() if "classifier" in line]  # of both workers once
    assert told.startswith("esm2: tuned: its checkpoint has tensors that are not used: ")
    assert told.endswith("; without a language head it gives no logits")


@pytest.fixture(scope="module")
def whole(reference):
    with esm2.load(reference("tiny").directory, device="cpu") as model:
        yield model


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v2/tuned/encode/", {"items": [ITEM], "params": {"include": ["logits"]}}, 400),
        ("/api/v2/tuned/predict/", {"items": [MASKED]}, 400),
        ("/api/v3/tuned/encode/", {"items": [ITEM], "params": {"include": ["logits"]}}, 400),
        ("/api/v3/tuned/predict/", {"items": [MASKED]}, 400),
        ("/api/v3/tuned/log_prob/", {"items": [ITEM]}, 400),
        ("/api/v3/tuned/score/", {"items": [VARIANTS]}, 400),
        ("/api/v1/tuned/encode", {"items": [ITEM], "params": {"include": ["logits"]}}, 422),
        ("/api/v1/tuned/predict", {"items": [MASKED]}, 422),
        ("/api/v1/tuned/log_prob", {"items": [ITEM]}, 422),
    ],
)
def test_what_needs_the_head_is_refused_in_a_sentence(server, path, body, status):
    answer = server.post(path, body)
    assert answer.status == status
    assert answer.json()["code"] == "request.logits_unavailable"
    assert SENTENCE in answer.body.decode()


def test_what_the_trunk_gives_is_that_of_the_whole_checkpoint(server, whole):
    kinds = ["mean", "per_token", "bos", "contacts", "attentions"]
    with Client(server.url, model="tuned") as client:
        (got,) = client.encode(["MKTAYIAKQR"], kinds, [0, 1, 2])
    (want,) = whole.encode(["MKTAYIAKQR"], kinds, [0, 1, 2])
    for kind in ("mean", "per_token", "bos"):
        for layer in (0, 1, 2):
            np.testing.assert_array_equal(getattr(got, kind)[layer], getattr(want, kind)[layer])
    np.testing.assert_array_equal(got.attentions, want.attentions)
    np.testing.assert_array_equal(got.contacts, want.contacts)


def test_its_health_is_checked_without_logits(server):
    assert server.get("/health/ready").status == 200


def test_info_and_the_schema_tell_that_there_are_none(server):
    (tuned,) = [own for own in server.get("/info").json()["models"] if own["slug"] == "tuned"]
    assert tuned["logits"] is False
    assert "classifier.weight" in tuned["unused"].split(", ")
    schema = server.get("/api/v3/schema/tuned/encode/").json()
    listed, _ = schema["$defs"]["Params"]["properties"]["include"]["anyOf"]
    assert "contacts" in listed["items"]["enum"]
    assert "logits" not in listed["items"]["enum"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.encode(["MKT"], ["mean", "logits"]),
        lambda model: model.predict(["M<mask>T"]),
        lambda model: model.log_prob(["MKT"]),
        lambda model: model.score_variants("MKT", ["K2A"]),
    ],
    ids=["encode", "predict", "log_prob", "score_variants"],
)
@pytest.mark.parametrize("door", ["the client", "the library"])
def test_programs_get_the_error_by_its_class(server, checkpoint, ask, door):
    opened = (
        Client(server.url, model="tuned")
        if door == "the client"
        else esm2.load(f"tuned={checkpoint}", device="cpu")
    )
    with opened as model, pytest.raises(LogitsUnavailable, match="tuned has no language head"):
        ask(model)


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.logits([]),
        lambda model: model.pll(["MKT"]),
        lambda model: model.scan("MKT"),
        lambda model: model.fill_mask("M<mask>T"),
    ],
    ids=["logits", "pll", "scan", "fill_mask"],
)
def test_what_only_the_library_has_is_refused_too(checkpoint, capfd, ask):
    with esm2.load(checkpoint, device="cpu") as model:
        with pytest.raises(LogitsUnavailable):
            ask(model)
        assert model.embed(["MKT"]).shape == (1, 32)
    assert capfd.readouterr().err.count("classifier.weight") == 1
