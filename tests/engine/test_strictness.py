"""A checkpoint that is not quite ESM-2 is refused, by the name of the tensor or the setting."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.checkpoints import (
    fair_esm_tensors,
    hf_config,
    save_fair_esm,
    save_hf,
    write_hf,
)
from tests.loading import LAYER, MODEL, live_tensors, refusal, write_with

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
        "adapter.dense.weight",  # beside the trunk, and it may be part of it
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
def test_a_tensor_that_is_not_floating_point_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
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
