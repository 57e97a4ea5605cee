"""Checkpoints on disk: every layout gives the same numbers, everything else is refused by name."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import EsmForMaskedLM

from esm2.alphabet import tokenize
from esm2.engine.engine import Engine
from esm2.errors import CheckpointError, ContactsUnavailable, NotFinite
from esm2.types import ForwardRequest, Want
from tests.checkpoints import (
    SHAPES,
    changed,
    fair_esm_tensors,
    hf_config,
    hf_tensors,
    random_fair_esm,
    save_fair_esm,
    save_hf,
    write_hf,
)
from tests.conftest import Reference
from tests.oracles import KINDS, differences, fair_esm_outputs, our_outputs
from tests.proteins import SEQUENCES

PROBE = SEQUENCES["300, many masks"]
EXACT = {"l2": 5e-6, "largest": 2e-5, "contacts": 1e-5}

#: Three layers of different shapes everywhere; small enough to write a hundred times.
MODEL = random_fair_esm(*SHAPES["odd"], seed=3)
LAYER = "esm.encoder.layer.1"
DEAD = ("esm.embeddings.position_embeddings.weight", "esm.embeddings.position_ids")


def load(path: Path) -> Engine:
    return Engine.load(path, "custom", device="cpu")


def refusal(path: Path) -> str:
    """What the loader says when it refuses; the test fails if it does not."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.parent) in message
    return message


def live_tensors() -> dict[str, Tensor]:
    """The Hugging Face tensors without the dead and the tied ones: each of them is required."""
    tensors = hf_tensors(MODEL)
    return {n: t for n, t in tensors.items() if n not in (*DEAD, "lm_head.decoder.weight")}


def write_with(directory: Path, config: dict[str, Any] | None = None, **tensors: Tensor) -> Path:
    """The checkpoint with some settings and tensors replaced or added."""
    return write_hf(directory, hf_config(MODEL) | (config or {}), live_tensors() | tensors)


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
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), **EXACT)


def test_what_transformers_saves_again_gives_the_same_numbers(tmp_path: Path) -> None:
    theirs = EsmForMaskedLM.from_pretrained(save_hf(MODEL, tmp_path / "official"))
    theirs.save_pretrained(tmp_path / "again")
    engine = load(tmp_path / "again")
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), **EXACT)


def test_what_transformers_saves_in_shards_gives_the_same_numbers(tmp_path: Path) -> None:
    theirs = EsmForMaskedLM.from_pretrained(save_hf(MODEL, tmp_path / "official"))
    theirs.save_pretrained(tmp_path / "again", max_shard_size="100KB")
    assert (tmp_path / "again" / "model.safetensors.index.json").exists()
    engine = load(tmp_path / "again")
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), **EXACT)


def test_the_fair_esm_layout_gives_fair_esm_numbers(tmp_path: Path) -> None:
    engine = load(save_fair_esm(MODEL, tmp_path / "esm2_odd.pt"))
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), **EXACT)


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
    assert not differences(our_outputs(load(path), PROBE), want, **EXACT)


def test_dead_and_tied_tensors_may_be_absent(tmp_path: Path) -> None:
    engine = load(write_with(tmp_path / "bare"))
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(MODEL, PROBE), **EXACT)


def test_each_layer_turns_by_its_own_inv_freq(tmp_path: Path) -> None:
    key = "layers.1.self_attn.rot_emb.inv_freq"
    other = changed(MODEL, {key: MODEL.state_dict()[key] * 0.8})
    engine = load(save_hf(other, tmp_path / "other"))
    outputs = our_outputs(engine, PROBE)
    assert not differences(outputs, fair_esm_outputs(other, PROBE), **EXACT)
    before = fair_esm_outputs(MODEL, PROBE)
    wrong = differences(outputs, before, largest=1e-3, contacts=1e-3)
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
    assert not differences(got, {name: want[name] for name in got}, **EXACT)


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
    assert not differences(our_outputs(engine, PROBE), fair_esm_outputs(untied, PROBE), **EXACT)


def test_an_output_matrix_of_its_own_that_is_missing_is_refused(tmp_path: Path) -> None:
    path = write_with(tmp_path / "untied", {"tie_word_embeddings": False})
    assert "lm_head.decoder.weight" in refusal(path)


def test_fair_esm_output_matrix_that_differs_is_refused(tmp_path: Path) -> None:
    untied = changed(MODEL, {"lm_head.weight": MODEL.embed_tokens.weight.flip(0)})
    assert "lm_head.weight" in refusal(save_fair_esm(untied, tmp_path / "esm2.pt"))


# --- strictness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in live_tensors() if "contact" not in n])
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    tensors = live_tensors()
    del tensors[name]
    message = refusal(write_hf(tmp_path / "hf", hf_config(MODEL), tensors))
    assert name in message
    assert "missing" in message


@pytest.mark.parametrize("name", live_tensors())
def test_a_misshapen_tensor_is_named(tmp_path: Path, name: str) -> None:
    tensor = live_tensors()[name]
    longer = torch.cat([tensor, tensor[-1:]])
    message = refusal(write_with(tmp_path / "hf", **{name: longer}))
    assert name in message
    assert str(tuple(longer.shape)) in message
    assert str(tuple(tensor.shape)) in message


@pytest.mark.parametrize(
    "name",
    [
        "esm.encoder.layer.3.output.dense.bias",  # a fourth layer
        "esm.embeddings.layer_norm.weight",  # ESM-1b's norm before the first layer
        "esm.pooler.dense.weight",
        "classifier.dense.weight",
        f"{LAYER}.attention.self.query.lora_A",
        "lm_head.decoder.bias",
    ],
)
def test_an_extra_tensor_is_named(tmp_path: Path, name: str) -> None:
    assert name in refusal(write_with(tmp_path / "hf", **{name: torch.ones(48)}))


def test_a_tensor_in_two_spellings_is_refused(tmp_path: Path) -> None:
    twice = {f"{LAYER}.LayerNorm.gamma": torch.ones(48)}
    assert f"{LAYER}.LayerNorm" in refusal(write_with(tmp_path / "hf", **twice))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    # Whichever were taken, it would be taken in silence.
    name = f"{LAYER}.output.dense.bias"
    directory = save_hf(MODEL, tmp_path / "hf", shards=2, container="bin")
    for shard in directory.glob("*.bin"):
        tensors = torch.load(shard, weights_only=True)
        torch.save(tensors | {name: torch.ones(48)}, shard)
    assert name in refusal(directory)


def test_a_contact_file_with_other_tensors_in_it_is_refused(tmp_path: Path) -> None:
    name = "encoder.sentence_encoder.embed_tokens.weight"
    path = save_fair_esm(MODEL, tmp_path / "esm2.pt")
    beside = tmp_path / "esm2-contact-regression.pt"
    content = torch.load(beside, weights_only=True)
    torch.save({"model": content["model"] | {name: torch.ones(33, 48)}}, beside)
    assert "embed_tokens.weight" in refusal(path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.int64])
def test_a_tensor_that_is_not_floating_point_is_refused(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    # Quantised weights need their scales: read as plain numbers they would be nonsense.
    name = f"{LAYER}.output.dense.weight"
    whole = {name: torch.ones(48, 192, dtype=dtype)}
    assert name in refusal(write_with(tmp_path / "hf", **whole))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("encoder.sentence_encoder.layers.2.fc1.weight", None),
        ("encoder.sentence_encoder.layers.0.self_attn.rot_emb.inv_freq", None),
        ("encoder.lm_head.dense.bias", None),
        ("encoder.sentence_encoder.layers.2.fc1.weight", torch.ones(48, 48)),
        ("encoder.sentence_encoder.embed_tokens.weight", torch.ones(35, 48)),
        ("encoder.sentence_encoder.emb_layer_norm_before.weight", torch.ones(48)),
        ("encoder.sentence_encoder.layers.3.fc1.weight", torch.ones(192, 48)),
    ],
)
def test_fair_esm_files_are_held_to_the_same(
    tmp_path: Path, name: str, change: Tensor | None
) -> None:
    path = save_fair_esm(MODEL, tmp_path / "esm2.pt")
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True)
    if change is None:
        del content["model"][name]
    else:
        content["model"][name] = change
    torch.save(content, path)
    # Named with or without the prefix that fair-esm itself strips.
    assert name.removeprefix("encoder.").removeprefix("sentence_encoder.") in refusal(path)


def test_the_names_of_fair_esm_tensors_are_those_of_the_published_files() -> None:
    assert {
        "encoder.sentence_encoder.embed_tokens.weight",
        "encoder.sentence_encoder.layers.2.self_attn.rot_emb.inv_freq",
        "encoder.sentence_encoder.emb_layer_norm_after.bias",
        "encoder.lm_head.weight",
    } <= set(fair_esm_tensors(MODEL))


# --- configurations and files that are not ESM-2 -------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "bert"),
        ("model_type", None),
        ("position_embedding_type", "absolute"),
        ("position_embedding_type", None),
        ("vocab_size", 32),
        ("mask_token_id", 31),
        ("pad_token_id", 0),
        ("emb_layer_norm_before", True),
        ("is_folding_model", True),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", "3"),
        ("num_hidden_layers", None),
        ("hidden_size", -48),
        ("hidden_size", 50),
        ("num_attention_heads", 5),
        ("intermediate_size", 128),
        ("layer_norm_eps", "small"),
        ("layer_norm_eps", [1]),
    ],
)
def test_a_configuration_that_is_not_esm2_is_refused_by_its_key(
    tmp_path: Path, key: str, value: object
) -> None:
    message = refusal(write_with(tmp_path / "hf", {key: value}))
    assert key in message or (key, value) in (("hidden_size", 50), ("num_attention_heads", 5))
    assert "config.json" in message


@pytest.mark.parametrize(
    ("settings", "tensor"),
    [
        ({"num_hidden_layers": 4}, "esm.encoder.layer.3"),
        ({"num_hidden_layers": 2}, "esm.encoder.layer.2"),
        ({"num_attention_heads": 2}, "inv_freq"),
        ({"hidden_size": 96, "intermediate_size": 384}, "esm.embeddings.word_embeddings.weight"),
    ],
)
def test_a_configuration_of_another_shape_is_refused_by_a_tensor(
    tmp_path: Path, settings: dict[str, object], tensor: str
) -> None:
    assert tensor in refusal(write_with(tmp_path / "hf", settings))


def test_nothing_there(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nothing")


def test_a_directory_without_config(tmp_path: Path) -> None:
    directory = save_hf(MODEL, tmp_path / "hf")
    (directory / "config.json").unlink()
    assert "config.json" in refusal(directory)


def test_a_directory_without_weights(tmp_path: Path) -> None:
    directory = save_hf(MODEL, tmp_path / "hf")
    (directory / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_config_that_is_not_a_json_object(tmp_path: Path, content: bytes) -> None:
    directory = save_hf(MODEL, tmp_path / "hf")
    (directory / "config.json").write_bytes(content)
    assert "config.json" in refusal(directory)


@pytest.mark.parametrize(
    "weight_map",
    [
        None,
        {},
        [],
        {"a": "../model-00001-of-00002.safetensors"},
        {"a": "nowhere.safetensors"},
        {"a": 1},
        {"a": ["b"]},
    ],
    ids=str,
)
def test_an_index_that_makes_no_sense(tmp_path: Path, weight_map: object) -> None:
    directory = save_hf(MODEL, tmp_path / "hf", shards=2)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refusal(directory)


@pytest.mark.parametrize("container", ["safetensors", "bin"])
def test_a_missing_shard_is_named(tmp_path: Path, container: str) -> None:
    directory = save_hf(MODEL, tmp_path / "hf", shards=3, container=container)
    shard = next(directory.glob("*00002-of*"))
    shard.unlink()
    assert shard.name in refusal(directory)


def _empty(content: bytes) -> bytes:
    return b""


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _cut_short(content: bytes) -> bytes:
    return content[:-3]


def _garbage(content: bytes) -> bytes:
    return bytes(range(256)) * 40


def _web_page(content: bytes) -> bytes:
    return b"<!doctype html><title>404</title>"


@pytest.mark.parametrize("damage", [_empty, _cut, _cut_short, _garbage, _web_page])
@pytest.mark.parametrize(
    "file", ["model.safetensors", "pytorch_model.bin", "esm2.pt", "esm2-contact-regression.pt"]
)
def test_a_damaged_file_is_an_error_that_names_it(
    tmp_path: Path, file: str, damage: Callable[[bytes], bytes]
) -> None:
    container = "bin" if file.endswith("bin") else "safetensors"
    save_hf(MODEL, tmp_path, container=container)
    pt = save_fair_esm(MODEL, tmp_path / "esm2.pt")
    damaged = tmp_path / file
    damaged.write_bytes(damage(damaged.read_bytes()))
    assert file in refusal(pt if file.endswith("pt") else tmp_path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    file = save_hf(MODEL, tmp_path / "hf") / "model.safetensors"
    refusal(file)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"model": {}},
        {"cfg": {}, "model": {}},
        {"cfg": {"model": {}}, "model": {}},
        {"cfg": {"model": argparse.Namespace()}, "model": {}},
    ],
    ids=str,
)
def test_a_torch_file_that_is_not_fair_esm(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "esm2.pt")
    refusal(tmp_path / "esm2.pt")


# --- nothing foreign is executed -----------------------------------------------------------------


class Bomb:
    """Unpickled, it makes a directory: the proof that code ran."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self._target,)


@pytest.mark.parametrize("file", ["esm2.pt", "esm2-contact-regression.pt", "pytorch_model.bin"])
@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(
    tmp_path: Path, file: str, how: str
) -> None:
    save_hf(MODEL, tmp_path, container="bin")
    pt = save_fair_esm(MODEL, tmp_path / "esm2.pt")
    target = tmp_path / "executed"
    if how == "pickle":
        (tmp_path / file).write_bytes(pickle.dumps({"model": Bomb(target)}, protocol=2))
    else:
        torch.save({"model": Bomb(target)}, tmp_path / file)
    assert file in refusal(pt if file.endswith("pt") else tmp_path)
    assert not target.exists()


def test_the_bomb_of_these_tests_is_alive(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


# --- numbers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_give_no_number_give_an_error_and_no_output(
    tmp_path: Path, kind: str, number: float
) -> None:
    broken = live_tensors()["esm.encoder.layer.0.attention.self.key.bias"].clone()
    broken[5] = number
    path = write_with(tmp_path / "hf", **{"esm.encoder.layer.0.attention.self.key.bias": broken})
    request = ForwardRequest(tokenize("MKT"), Want(layers=(3,), **{kind: True}))
    with pytest.raises(NotFinite, match=kind):
        load(path).run([request])


# --- slugs ---------------------------------------------------------------------------------------


def test_an_official_slug_must_have_its_official_shape(
    reference: Callable[[str], Reference],
) -> None:
    with pytest.raises(CheckpointError, match="esm2-35m"):
        Engine.load(reference("8m").directory, "esm2-35m", device="cpu")


def test_weights_of_the_right_shape_are_not_called_official_for_that(
    reference: Callable[[str], Reference],
) -> None:
    engine = Engine.load(reference("8m").directory, "esm2-8m", device="cpu")
    assert engine.decided.weights_kind == "custom"
