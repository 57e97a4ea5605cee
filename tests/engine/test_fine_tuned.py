"""What transformers and trainers save of a fine-tuned ESM-2 gives transformers' own numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    EsmConfig,
    EsmForMaskedLM,
    EsmForSequenceClassification,
    EsmForTokenClassification,
    EsmModel,
)

from esm2.alphabet import tokenize
from esm2.catalog import Shape
from esm2.engine.engine import Engine, kernels_for
from esm2.engine.native.library import Kernels
from esm2.errors import LogitsUnavailable
from esm2.numerics import FAIR_ESM
from esm2.types import ForwardRequest, Want
from tests.checkpoints import hf_config, save_fair_esm, write_hf
from tests.loading import LAYER, MODEL, live_tensors, load, refusal, write_with
from tests.near import assert_near, differences
from tests.oracles import fair_esm_outputs, our_outputs

PROBE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"

CLASSES: dict[str, Any] = {
    "EsmModel": EsmModel,
    "EsmModel without pooler": lambda config: EsmModel(config, add_pooling_layer=False),
    "EsmForSequenceClassification": EsmForSequenceClassification,
    "EsmForTokenClassification": EsmForTokenClassification,
    "EsmForMaskedLM": EsmForMaskedLM,
}


def _random(kind: str, **settings: Any) -> Any:
    """A transformers model with numbers that matter in every tensor."""
    said = {k: v for k, v in hf_config(MODEL).items() if k not in ("model_type", "torch_dtype")}
    config = EsmConfig(**said | {"num_labels": 3} | settings)
    config._attn_implementation = "eager"
    torch.manual_seed(5)
    model = CLASSES[kind](config).eval().requires_grad_(False)
    for name, tensor in model.named_parameters():
        if "word_embeddings" not in name:
            tensor.add_(0.1 * torch.randn(tensor.shape))
    return model


def _trunk(model: Any) -> Any:
    return getattr(model, "esm", model)


def _check(engine: Engine, model: Any) -> None:
    """All that the trunk gives, against transformers."""
    layers = engine.decided.shape.layers
    tokens = tokenize(PROBE)
    want = Want(tuple(range(layers + 1)), per_token=True, contacts=True, attentions=True)
    (ours,) = engine.run([ForwardRequest(tokens, want)])
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    everything = torch.ones_like(ids)
    theirs = _trunk(model)(
        ids, attention_mask=everything, output_hidden_states=True, output_attentions=True
    )
    for layer in range(layers + 1):
        _close(ours.per_token[layer], theirs.hidden_states[layer][0, 1:-1])
    _close(ours.per_token[layers], theirs.last_hidden_state[0, 1:-1])
    maps = torch.stack([own[0] for own in theirs.attentions])
    _close(ours.attentions, maps.mean((1, 2))[:, 1:-1])
    _close(ours.contacts, _trunk(model).predict_contacts(ids, everything)[0], "contacts")


def _close(ours: Any, theirs: torch.Tensor, kind: str = "array") -> None:
    assert_near(ours, theirs.numpy(), FAIR_ESM, kind)


def _kernels() -> list[str]:
    shape = Shape(MODEL.num_layers, MODEL.embed_dim, MODEL.attention_heads)
    found = kernels_for(shape, torch.device("cpu"), "float32")
    return [kernel.name if isinstance(kernel, Kernels) else kernel for kernel in found]


@pytest.mark.parametrize("kind", CLASSES)
def test_what_transformers_saves_of_any_class_gives_its_numbers(tmp_path: Path, kind: str) -> None:
    model = _random(kind)
    model.save_pretrained(tmp_path / "saved")
    engine = load(tmp_path / "saved")
    _check(engine, model)
    assert engine.decided.contacts
    assert engine.decided.logits is (kind == "EsmForMaskedLM")


@pytest.mark.parametrize("kernel", _kernels())
@pytest.mark.parametrize("kind", ["EsmModel", "EsmForTokenClassification"])
def test_every_kernel_does_without_a_language_head(tmp_path: Path, kernel: str, kind: str) -> None:
    model = _random(kind)
    model.save_pretrained(tmp_path / "saved")
    engine = Engine.load(tmp_path / "saved", "tuned", device="cpu", kernel=kernel)
    _check(engine, model)
    with pytest.raises(LogitsUnavailable, match="tuned has no language head"):
        engine.run([ForwardRequest(tokenize("MKT"), Want((0,), mean=True, logits=True))])


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_norm_eps": 1e-3},
        {"token_dropout": False},
        {"rope_theta": 500.0},
    ],
    ids=str,
)
def test_a_setting_that_is_honoured_gives_transformers_numbers(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = _random("EsmModel", **settings)
    model.save_pretrained(tmp_path / "saved")
    _check(load(tmp_path / "saved"), model)


def test_a_rope_theta_that_the_frequencies_do_not_come_from_is_refused(tmp_path: Path) -> None:
    message = refusal(write_with(tmp_path / "hf", {"rope_theta": 500.0}))
    assert "inv_freq differs from what rope_theta 500 in the configuration gives" in message


@pytest.mark.parametrize(
    ("kind", "unused"),
    [
        ("EsmModel", "pooler.dense.bias, pooler.dense.weight"),
        ("EsmForTokenClassification", "classifier.bias, classifier.weight"),
        ("EsmModel without pooler", ""),
        ("EsmForMaskedLM", ""),
    ],
)
def test_what_is_left_out_is_told_by_name(tmp_path: Path, kind: str, unused: str) -> None:
    _random(kind).save_pretrained(tmp_path / "saved")
    assert load(tmp_path / "saved").decided.unused == unused


def test_old_buffers_are_told_beside_a_head_and_are_no_news_by_themselves(tmp_path: Path) -> None:
    ids = {"esm.embeddings.position_ids": torch.arange(9)[None]}
    assert load(write_with(tmp_path / "old", **ids)).decided.unused == ""
    scored = ids | {"score.weight": torch.ones(2, 48)}
    told = load(write_with(tmp_path / "scored", **scored)).decided.unused
    assert set(told.split(", ")) == set(scored)


# --- prefixes ------------------------------------------------------------------------------------


def _prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in live_tensors().items()}


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "_orig_mod.", "base_model.model.", "model.module._orig_mod.", "net.plm."],
)
@pytest.mark.parametrize("container", ["safetensors", "bin"])
def test_what_a_trainer_puts_before_the_names_is_understood(
    tmp_path: Path, prefix: str, container: Any
) -> None:
    path = write_hf(tmp_path / "hf", hf_config(MODEL), _prefixed(prefix), container=container)
    want = fair_esm_outputs(MODEL, PROBE)
    assert not differences(our_outputs(load(path), PROBE), want, FAIR_ESM)


def test_a_trunk_under_another_name_with_a_head_beside_it_is_understood(tmp_path: Path) -> None:
    trunk = {n.removeprefix("esm."): t for n, t in live_tensors().items() if n.startswith("esm.")}
    tensors = {f"backbone.{name}": tensor for name, tensor in trunk.items()}
    tensors["head.0.weight"] = torch.ones(3, 48)
    engine = load(write_hf(tmp_path / "hf", hf_config(MODEL), tensors))
    assert (engine.decided.logits, engine.decided.unused) == (False, "head.0.weight")


def test_a_missing_tensor_is_named_as_the_file_would_name_it(tmp_path: Path) -> None:
    name = "module.esm.encoder.layer.1.output.dense.bias"
    tensors = _prefixed("module.")
    del tensors[name]
    assert f"missing tensor {name}" in refusal(write_hf(tmp_path / "hf", hf_config(MODEL), tensors))


def test_two_models_in_one_checkpoint_are_refused(tmp_path: Path) -> None:
    both = _prefixed("student.") | _prefixed("teacher.")
    message = refusal(write_hf(tmp_path / "hf", hf_config(MODEL), both))
    assert "holds 2 models, under 'student.esm.' and 'teacher.esm.'" in message


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (f"{LAYER}.attention.self.query.lora_A.default.weight", "merge_and_unload()"),
        (f"{LAYER}.output.dense.weight.absmax", "quantised weights"),
        (f"{LAYER}.crossattention.self.query.weight", "a decoder"),
        ("adapter.up.weight", "save the trunk alone"),
    ],
)
def test_a_tensor_that_may_be_of_the_trunk_is_refused_with_what_it_is(
    tmp_path: Path, name: str, advice: str
) -> None:
    message = refusal(write_with(tmp_path / "hf", **{name: torch.ones(48)}))
    assert f"extra tensor {name}" in message
    assert advice in message


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod."])
def test_prefixes_of_fair_esm_names_are_understood_too(tmp_path: Path, prefix: str) -> None:
    path = save_fair_esm(MODEL, tmp_path / "esm2.pt", contacts=False)
    content = torch.load(path, weights_only=False)
    content["model"] = {f"{prefix}{name}": tensor for name, tensor in content["model"].items()}
    torch.save(content, path)
    assert load(path).decided.logits


# --- a trainer's own files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "pytorch-lightning_version": "2.5.0", "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"lr": 1e-4}},
    ],
    ids=["a state dict", "Lightning", "a loop of one's own"],
)
def test_a_trainers_file_loads_with_its_configuration_beside_it_and_is_named_without(
    tmp_path: Path, wrapped: Any
) -> None:
    path = tmp_path / "epoch=3.ckpt"
    torch.save(wrapped(_prefixed("model.")), path)
    message = refusal(path)
    assert "copy the config.json of the model that was trained to there" in message
    (tmp_path / "config.json").write_text(json.dumps(hf_config(MODEL)))
    want = fair_esm_outputs(MODEL, PROBE)
    assert not differences(our_outputs(load(path), PROBE), want, FAIR_ESM)
