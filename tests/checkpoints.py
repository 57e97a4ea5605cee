"""Random ESM-2 checkpoints of any shape, and every layout in which such checkpoints are found.

    random_fair_esm(layers, dim, heads, seed)      a fair-esm model, nothing of it trivial
        |
        +-- save_hf         config.json + model.safetensors | shards | .bin      (Hugging Face)
        +-- save_fair_esm   X.pt + X-contact-regression.pt                       (fair-esm)

The numbers are drawn so that a mistake shows: biases and norms that matter, attention that is
neither uniform nor a single spike, logits of order 1 to 10, contacts spread over (0, 1), a `<mask>`
embedding that is not zero (the model has to zero it), and `inv_freq` rounded to float16 and back,
as the official files carry it.

Layouts: convert_esm.py and modeling_esm.py in huggingface/transformers; esm/pretrained.py in
facebookresearch/esm.
"""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from esm.model.esm2 import ESM2
from torch import Tensor

# fair-esm and transformers ask torch for cosines, which may be wrong in a process whose first ones
# are asked for by several threads at once (docs/numerics.md).
torch.zeros(1).cos()

#: (layers, dim, heads) of the checkpoints that tests use; head_dim 16, 12, 16, 24.
SHAPES = {"tiny": (2, 32, 2), "odd": (3, 48, 4), "8m": (6, 320, 20), "35m": (12, 480, 20)}

InvFreq = Literal["per_layer", "shared", "star"]
Norms = Literal["weight", "gamma"]
Container = Literal["safetensors", "bin"]


# --- the model -----------------------------------------------------------------------------------


def random_fair_esm(layers: int, dim: int, heads: int, seed: int) -> ESM2:
    """A fair-esm model with weights from `seed`, float32, in evaluation mode.

    Every tensor is drawn on its own, in order of the names, so that a shape and a seed always
    give the same checkpoint.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: _draw(name, tuple(tensor.shape), dim, heads, generator)
        for name, tensor in sorted(_empty(layers, dim, heads).state_dict().items())
        if name != "lm_head.weight"
    }
    return _filled(_empty(layers, dim, heads), tensors)


def changed(model: ESM2, tensors: Mapping[str, Tensor]) -> ESM2:
    """The same checkpoint with other numbers in some tensors, under fair-esm's names.

    The LM head stays tied to the embedding unless `lm_head.weight` is one of them. The model is
    built anew, because fair-esm's rotary modules remember their tables by length alone.
    """
    state = model.state_dict()
    del state["lm_head.weight"]
    empty = _empty(model.num_layers, model.embed_dim, model.attention_heads)
    return _filled(empty, {**state, **tensors})


def _empty(layers: int, dim: int, heads: int) -> ESM2:
    with torch.device("meta"):  # skips fair-esm's own initialisation, which takes longer than ours
        return ESM2(layers, dim, heads)


def _filled(model: ESM2, tensors: Mapping[str, Tensor]) -> ESM2:
    model.load_state_dict(
        {"lm_head.weight": tensors["embed_tokens.weight"], **tensors}, assign=True
    )
    return model.eval().requires_grad_(False)


def inv_freq(head_dim: int) -> Tensor:
    """Rotary frequencies as the official files carry them: float16-rounded, (head_dim / 2,)."""
    exact = 10000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    return exact.to(torch.float16).to(torch.float32)


def _draw(
    name: str, shape: tuple[int, ...], dim: int, heads: int, generator: torch.Generator
) -> Tensor:
    if name.endswith("inv_freq"):
        return inv_freq(dim // heads)
    centre, spread = _law(name, shape)
    return centre + spread * torch.randn(shape, generator=generator)


# What a tensor is drawn from, by its name, the first that fits: mean, standard deviation, and the
# power of the fan-in that multiplies the deviation.
_LAWS = (
    (r"layer_norm.*weight", 1.0, 0.2, 0.0),
    (r"embed_tokens", 0.0, 4.0, -0.5),  # tied: the spread of the logits is then about 4
    (r"regression\.weight", 0.0, 40.0, -0.5),  # on APC-corrected maps, which are small
    (r"regression\.bias", -0.5, 0.0, 0.0),
    (r"bias", 0.0, 0.2, 0.0),
    (r"[qk]_proj", 0.0, 1.4, -0.5),  # the spread of the attention logits is then about 2
    (r"weight", 0.0, 1.0, -0.5),
)


def _law(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's numbers."""
    for pattern, mean, deviation, power in _LAWS:
        if re.search(pattern, name):
            return mean, deviation * shape[-1] ** power
    raise AssertionError(f"no law for {name}")


# --- Hugging Face --------------------------------------------------------------------------------

# fair-esm's name of a tensor -> Hugging Face's, first match wins.
_TO_HF = [
    (r"^embed_tokens\.", "esm.embeddings.word_embeddings."),
    (r"^layers\.(\d+)\.self_attn\.q_proj\.", r"esm.encoder.layer.\1.attention.self.query."),
    (r"^layers\.(\d+)\.self_attn\.k_proj\.", r"esm.encoder.layer.\1.attention.self.key."),
    (r"^layers\.(\d+)\.self_attn\.v_proj\.", r"esm.encoder.layer.\1.attention.self.value."),
    (r"^layers\.(\d+)\.self_attn\.out_proj\.", r"esm.encoder.layer.\1.attention.output.dense."),
    (
        r"^layers\.(\d+)\.self_attn\.rot_emb\.",
        r"esm.encoder.layer.\1.attention.self.rotary_embeddings.",
    ),
    (r"^layers\.(\d+)\.self_attn_layer_norm\.", r"esm.encoder.layer.\1.attention.LayerNorm."),
    (r"^layers\.(\d+)\.fc1\.", r"esm.encoder.layer.\1.intermediate.dense."),
    (r"^layers\.(\d+)\.fc2\.", r"esm.encoder.layer.\1.output.dense."),
    (r"^layers\.(\d+)\.final_layer_norm\.", r"esm.encoder.layer.\1.LayerNorm."),
    (r"^emb_layer_norm_after\.", "esm.encoder.emb_layer_norm_after."),
    (r"^contact_head\.", "esm.contact_head."),
    (r"^lm_head\.weight$", "lm_head.decoder.weight"),
]
_MAX_POSITIONS = 1026


def hf_config(model: ESM2) -> dict[str, Any]:
    """config.json with the fields of the official ones."""
    return {
        "architectures": ["EsmForMaskedLM"],
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": None,
        "emb_layer_norm_before": False,
        "esmfold_config": None,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": model.embed_dim,
        "initializer_range": 0.02,
        "intermediate_size": 4 * model.embed_dim,
        "is_folding_model": False,
        "layer_norm_eps": 1e-05,
        "mask_token_id": model.mask_idx,
        "max_position_embeddings": _MAX_POSITIONS,
        "model_type": "esm",
        "num_attention_heads": model.attention_heads,
        "num_hidden_layers": model.num_layers,
        "pad_token_id": model.padding_idx,
        "position_embedding_type": "rotary",
        "token_dropout": True,
        "torch_dtype": "float32",
        "transformers_version": "4.25.0.dev0",
        "use_cache": True,
        "vocab_list": None,
        "vocab_size": model.alphabet_size,
    }


def hf_tensors(
    model: ESM2, *, inv_freq: InvFreq = "per_layer", norms: Norms = "weight"
) -> dict[str, Tensor]:
    """The tensors of EsmForMaskedLM, the dead ones of the official files included.

    Args:
        inv_freq: "per_layer" as in the official files; "shared", once for the whole model;
            "star", once under the literal name that transformers 5 writes.
        norms: "gamma" for the LayerNorm names that transformers 5 writes.
    """
    tensors = {_hf_name(name): tensor for name, tensor in model.state_dict().items()}
    if inv_freq != "per_layer":
        tensors = _one_inv_freq(tensors, inv_freq)
    if norms == "gamma":
        tensors = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in tensors.items()
        }
    # Left over from the class that learned positions: in the official files, used by nobody.
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(_MAX_POSITIONS, model.embed_dim, generator=generator)
    tensors["esm.embeddings.position_embeddings.weight"] = positions
    tensors["esm.embeddings.position_ids"] = torch.arange(_MAX_POSITIONS).unsqueeze(0)
    return tensors


def save_hf(
    model: ESM2,
    directory: Path,
    *,
    inv_freq: InvFreq = "per_layer",
    norms: Norms = "weight",
    shards: int = 1,
    container: Container = "safetensors",
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a Hugging Face directory and return it. Arguments: see `hf_tensors`, `write_hf`."""
    tensors = hf_tensors(model, inv_freq=inv_freq, norms=norms)
    cast = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    return write_hf(directory, hf_config(model), cast, shards=shards, container=container)


def write_hf(
    directory: Path,
    config: dict[str, Any],
    tensors: dict[str, Tensor],
    *,
    shards: int = 1,
    container: Container = "safetensors",
) -> Path:
    """Write these tensors, right or wrong, as a Hugging Face directory and return it.

    Args:
        shards: number of weight files; with more than one there is an index beside them.
        container: "safetensors", or "bin" for torch.save.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    stem, suffix = (
        ("model", "safetensors") if container == "safetensors" else ("pytorch_model", "bin")
    )
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        part = "" if shards == 1 else f"-{shard + 1:05}-of-{shards:05}"
        file = f"{stem}{part}.{suffix}"
        # Tied tensors share memory, which safetensors refuses to write.
        mine = {name: tensors[name].clone().contiguous() for name in names[shard::shards]}
        weight_map |= dict.fromkeys(mine, file)
        if container == "safetensors":
            safetensors.torch.save_file(mine, directory / file, metadata={"format": "pt"})
        else:
            torch.save(mine, directory / file)
    if shards > 1:
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (directory / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=2))
    return directory


def _hf_name(name: str) -> str:
    for pattern, target in _TO_HF:
        if re.match(pattern, name):
            return re.sub(pattern, target, name)
    return name  # the rest of lm_head is called the same


def _one_inv_freq(tensors: dict[str, Tensor], spelling: InvFreq) -> dict[str, Tensor]:
    found = [tensor for name, tensor in tensors.items() if name.endswith("inv_freq")]
    assert all(torch.equal(tensor, found[0]) for tensor in found), "layers differ"
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("inv_freq")}
    name = {
        "shared": "esm.rotary_embeddings.inv_freq",
        "star": "esm.encoder.layer.*.attention.self.rotary_embeddings.inv_freq",
    }[spelling]
    return {**kept, name: found[0]}


# --- fair-esm ------------------------------------------------------------------------------------


def fair_esm_tensors(model: ESM2) -> dict[str, Tensor]:
    """The tensors of fair-esm's main file: all but the contact head."""
    return dict(_fair_esm_names(model))


def _fair_esm_names(model: ESM2) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.state_dict().items():
        if name.startswith("lm_head."):
            yield f"encoder.{name}", tensor
        elif not name.startswith("contact_head."):
            yield f"encoder.sentence_encoder.{name}", tensor


def save_fair_esm(
    model: ESM2, path: Path, contacts: bool = True, dtype: torch.dtype = torch.float32
) -> Path:
    """Write `path`, a .pt file, as fair-esm does, and return it.

    Args:
        contacts: whether to write the contact head, `X-contact-regression.pt` beside `X.pt`.
    """
    cfg = Namespace(
        arch="esm2",
        encoder_layers=model.num_layers,
        encoder_embed_dim=model.embed_dim,
        encoder_attention_heads=model.attention_heads,
        token_dropout=True,
    )
    tensors = {name: tensor.to(dtype) for name, tensor in fair_esm_tensors(model).items()}
    torch.save({"cfg": {"model": cfg}, "model": tensors}, path)
    if contacts:
        head = {
            f"contact_head.regression.{part}": tensor.to(dtype)
            for part, tensor in model.contact_head.regression.state_dict().items()
        }
        torch.save({"model": head}, path.with_name(f"{path.stem}-contact-regression.pt"))
    return path
