"""Checkpoints on disk: every layout that is found in the wild gives the same numbers."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EsmForMaskedLM

from esm2.alphabet import tokenize
from esm2.engine.engine import Engine
from esm2.errors import ContactsUnavailable
from esm2.numerics import FAIR_ESM
from esm2.types import ForwardRequest, Want
from tests.checkpoints import (
    SHAPES,
    changed,
    hf_config,
    random_fair_esm,
    save_fair_esm,
    save_hf,
    write_hf,
)
from tests.conftest import Reference
from tests.loading import MODEL, live_tensors, load, refusal, write_with
from tests.near import VISIBLE, differences
from tests.oracles import fair_esm_outputs, our_outputs
from tests.proteins import SEQUENCES

PROBE = SEQUENCES["300, many masks"]


# --- what loads ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"shards": 4},
        {"container": "bin"},
        {"container": "bin", "shards": 3},
        {"inv_freq": "shared"},
        {"inv_freq": "star", "norms": "gamma"},
    ],
    ids=str,
)
def test_every_hugging_face_layout_gives_fair_esm_numbers(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    engine = load(save_hf(MODEL, tmp_path / "hf", **how))
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), FAIR_ESM)


def test_what_transformers_saves_again_gives_the_same_numbers(tmp_path: Path) -> None:
    theirs = EsmForMaskedLM.from_pretrained(save_hf(MODEL, tmp_path / "official"))
    theirs.save_pretrained(tmp_path / "again")
    engine = load(tmp_path / "again")
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), FAIR_ESM)


def test_what_transformers_saves_in_shards_gives_the_same_numbers(tmp_path: Path) -> None:
    theirs = EsmForMaskedLM.from_pretrained(save_hf(MODEL, tmp_path / "official"))
    theirs.save_pretrained(tmp_path / "again", max_shard_size="100KB")
    assert (tmp_path / "again" / "model.safetensors.index.json").exists()
    engine = load(tmp_path / "again")
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), FAIR_ESM)


def test_the_fair_esm_layout_gives_fair_esm_numbers(tmp_path: Path) -> None:
    engine = load(save_fair_esm(MODEL, tmp_path / "esm2_odd.pt"))
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), FAIR_ESM)


@pytest.mark.parametrize("layout", ["safetensors", "bin", "pt"])
def test_weights_stored_in_float16_are_computed_with_in_float32(
    tmp_path: Path, layout: str
) -> None:
    if layout == "pt":
        path = save_fair_esm(MODEL, tmp_path / "half.pt", dtype=torch.float16)
    else:
        path = save_hf(MODEL, tmp_path / "half", container=layout, dtype=torch.float16)
    rounded = {name: tensor.half().float() for name, tensor in MODEL.state_dict().items()}
    want = fair_esm_outputs(changed(MODEL, rounded), PROBE)
    assert not differences(our_outputs(load(path), PROBE), want, FAIR_ESM)


def test_dead_and_tied_tensors_may_be_absent(tmp_path: Path) -> None:
    engine = load(write_with(tmp_path / "bare"))
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), FAIR_ESM)


def test_each_layer_turns_by_its_own_inv_freq(tmp_path: Path) -> None:
    key = "layers.1.self_attn.rot_emb.inv_freq"
    other = changed(MODEL, {key: MODEL.state_dict()[key] * 0.8})
    engine = load(save_hf(other, tmp_path / "other"))
    outputs = our_outputs(engine, PROBE)
    assert not differences(outputs, fair_esm_outputs(other, PROBE), FAIR_ESM)
    before = fair_esm_outputs(MODEL, PROBE)
    wrong = differences(outputs, before, VISIBLE)
    moved = {line.split(":")[0] for line in wrong}
    assert {"per_token 2", "per_token 3", "logits", "contacts", "attentions"} <= moved
    assert not moved & {"per_token 0", "per_token 1", "mean 0", "mean 1", "bos 0", "bos 1"}


def test_the_hash_is_that_of_the_weight_files(tmp_path: Path) -> None:
    one = save_hf(MODEL, tmp_path / "one")
    digest = hashlib.sha256((one / "model.safetensors").read_bytes()).hexdigest()
    assert load(one).decided.weights_sha256 == digest
    two = save_hf(MODEL, tmp_path / "two", shards=2)
    digests = [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(two.glob("*.safetensors"))
    ]
    assert load(two).decided.weights_sha256 not in (digest, *digests)


# --- the contact head ----------------------------------------------------------------------------


def _without_contacts(tmp_path: Path, layout: str) -> Path:
    if layout == "pt":
        return save_fair_esm(MODEL, tmp_path / "bare.pt", contacts=False)
    tensors = {n: t for n, t in live_tensors().items() if "contact" not in n}
    return write_hf(tmp_path / "bare", hf_config(MODEL), tensors)


@pytest.mark.parametrize("layout", ["hf", "pt"])
def test_without_a_contact_head_only_contacts_are_refused(tmp_path: Path, layout: str) -> None:
    engine = load(_without_contacts(tmp_path, layout))
    assert not engine.decided.contacts
    tokens = tokenize(PROBE)
    with pytest.raises(ContactsUnavailable, match="contact"):
        engine.run([ForwardRequest(tokens, Want(logits=True, contacts=True))])
    outputs = engine.run([ForwardRequest(tokens, Want(logits=True, attentions=True))])[0]
    want = fair_esm_outputs(MODEL, PROBE)
    got = {"logits": outputs.logits, "attentions": outputs.attentions}
    assert not differences(got, {name: want[name] for name in got}, FAIR_ESM)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_half_a_contact_head_is_refused(tmp_path: Path, part: str) -> None:
    tensors = live_tensors()
    del tensors[f"esm.contact_head.regression.{part}"]
    assert "contact" in refusal(write_hf(tmp_path / "half", hf_config(MODEL), tensors))


def test_a_contact_head_of_another_model_is_refused(tmp_path: Path) -> None:
    path = save_fair_esm(MODEL, tmp_path / "esm2.pt")
    other = save_fair_esm(random_fair_esm(*SHAPES["tiny"], seed=1), tmp_path / "tiny.pt")
    shutil.copy(
        other.with_name("tiny-contact-regression.pt"),
        path.with_name("esm2-contact-regression.pt"),
    )
    assert "contact_head.regression.weight" in refusal(path)


# --- the output matrix ---------------------------------------------------------------------------


def test_an_output_matrix_that_should_be_tied_and_is_not_is_refused(tmp_path: Path) -> None:
    name = "lm_head.decoder.weight"
    other = {name: 0.5 * MODEL.embed_tokens.weight}
    assert name in refusal(write_with(tmp_path / "untied", **other))


def test_an_output_matrix_of_its_own_is_used_where_the_configuration_says_so(
    tmp_path: Path,
) -> None:
    untied = changed(MODEL, {"lm_head.weight": MODEL.embed_tokens.weight.flip(0)})
    own = {"lm_head.decoder.weight": untied.lm_head.weight}
    engine = load(write_with(tmp_path / "untied", {"tie_word_embeddings": False}, **own))
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(untied, PROBE), FAIR_ESM)


def test_an_output_matrix_of_its_own_that_is_missing_is_refused(tmp_path: Path) -> None:
    path = write_with(tmp_path / "untied", {"tie_word_embeddings": False})
    assert "lm_head.decoder.weight" in refusal(path)


def test_fair_esm_output_matrix_that_differs_is_refused(tmp_path: Path) -> None:
    untied = changed(MODEL, {"lm_head.weight": MODEL.embed_tokens.weight.flip(0)})
    assert "lm_head.weight" in refusal(save_fair_esm(untied, tmp_path / "esm2.pt"))


# --- slugs ---------------------------------------------------------------------------------------


def test_weights_of_the_right_shape_are_not_called_official_for_that(
    reference: Callable[[str], Reference],
) -> None:
    engine = Engine.load(reference("8m").directory, "esm2-8m", device="cpu")
    assert engine.decided.weights_kind == "custom"
