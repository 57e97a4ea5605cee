"""What a checkpoint says of itself, beside its tensors: read, and refused where it is not ESM-2.

    honoured   the shape, token_dropout, layer_norm_eps, tie_word_embeddings, rope_theta
    refused    whatever else would change a number, by its name and value
    passed     whatever is for training, or tells how to store and to load

Source: EsmConfig and modeling_esm.py in huggingface/transformers; esm/pretrained.py in
facebookresearch/esm.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm2.alphabet import MASK, TOKENS
from esm2.catalog import Shape
from esm2.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Config:
    """What a checkpoint says of itself, beside its tensors.

    Attributes:
        token_dropout: whether embeddings are scaled by the share of masks.
        eps: of the layer norms.
        tied: whether the language head's output matrix is the embedding.
        rope_theta: the base that the rotary frequencies say they were made from; None where it is
            not said. The frequencies themselves are a tensor, and are not made anew.
    """

    shape: Shape
    token_dropout: bool
    eps: float
    tied: bool
    rope_theta: float | None = None


# What has to be said: where a key is absent, transformers has a default that is not ESM-2's.
_REQUIRED: dict[str, Any] = {
    "model_type": "esm",
    "position_embedding_type": "rotary",
    "vocab_size": len(TOKENS),
    "mask_token_id": MASK,
    "pad_token_id": TOKENS.index("<pad>"),
}

# What may be absent or null, or else has to be one of these. The first is said to be ESM-2's.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("emb_layer_norm_before", "is_folding_model", "is_decoder"), (False,)),
    **dict.fromkeys(("add_cross_attention", "is_encoder_decoder"), (False,)),
    "emb_layer_norm_after": (True,),
    "hidden_act": ("gelu",),
    "bos_token_id": (0,),
    "cls_token_id": (0,),
    "eos_token_id": (2, [2]),
    "rope_scaling": (None,),
    "partial_rotary_factor": (1,),
    "pruned_heads": ({},),
    "esmfold_config": ({},),
    "quantization_config": (None,),
}


def hugging_face_config(directory: Path) -> Config:
    """config.json of a Hugging Face directory.

    Raises:
        CheckpointError: it is damaged, or says something that is not ESM-2; by its key.
    """
    file = directory / "config.json"
    raw = json_object(file)
    for key, value in _REQUIRED.items():
        _expect(file, raw, key, value)
    for key, values in _ALLOWED.items():
        if raw.get(key) is not None:
            _expect(file, raw, key, *values)
    shape = _shape(file, raw, "num_hidden_layers", "hidden_size", "num_attention_heads")
    for key, value in (
        ("intermediate_size", 4 * shape.dim),
        ("head_dim", shape.head_dim),
        ("num_key_value_heads", shape.heads),
        ("embedding_size", shape.dim),
    ):
        if key == "intermediate_size" or raw.get(key) is not None:
            _expect(file, raw, key, value)
    return Config(
        shape=shape,
        token_dropout=_flag(file, raw, "token_dropout", absent=False),
        eps=_eps(file, raw.get("layer_norm_eps", 1e-12)),  # transformers' default
        tied=_flag(file, raw, "tie_word_embeddings", absent=True),
        rope_theta=_rope_theta(file, raw),
    )


def fair_esm_config(file: Path, settings: argparse.Namespace) -> Config:
    """The settings in a fair-esm checkpoint.

    Raises:
        CheckpointError: they are not those of an ESM-2.
    """
    raw = vars(settings)
    return Config(
        shape=_shape(file, raw, "encoder_layers", "encoder_embed_dim", "encoder_attention_heads"),
        token_dropout=_flag(file, raw, "token_dropout", absent=False),
        eps=1e-5,  # nn.LayerNorm's default, which fair-esm uses
        tied=True,
    )


def json_object(file: Path) -> dict[str, Any]:
    """A file that is a JSON object.

    Raises:
        CheckpointError: it is not.
    """
    try:
        raw = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(file, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(file, "is not a JSON object")
    return raw


def _expect(file: Path, raw: dict[str, Any], key: str, *values: Any) -> None:
    value = raw.get(key)
    if value not in values:
        ours = "absent" if values[0] is None else repr(values[0])
        raise CheckpointError(file, f"{key} is {_said(value)}, in ESM-2 it is {ours}")


def _said(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _shape(path: Path, raw: dict[str, Any], *keys: str) -> Shape:
    for key in keys:
        if type(raw.get(key)) is not int or raw[key] < 1:
            raise CheckpointError(
                path, f"{key} is {_said(raw.get(key))}, not a positive whole number"
            )
    shape = Shape(*(raw[key] for key in keys))
    if shape.dim % shape.heads or shape.head_dim % 2:
        raise CheckpointError(path, f"{shape} does not divide into heads of even size")
    return shape


def _flag(file: Path, raw: dict[str, Any], key: str, *, absent: bool) -> bool:
    value = raw.get(key)
    if value is None:
        return absent
    if not isinstance(value, bool):
        raise CheckpointError(file, f"{key} is {_said(value)}, neither true nor false")
    return value


def _eps(file: Path, value: object) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise CheckpointError(file, f"layer_norm_eps is {_said(value)}, not a small number")
    return value


def _rope_theta(file: Path, raw: dict[str, Any]) -> float | None:
    """The base of the rotary frequencies, in either of transformers' spellings."""
    said = raw.get("rope_parameters")
    rope = {} if said is None else said
    plain = {"rope_theta", "rope_type", "type", "partial_rotary_factor"}
    if (
        not isinstance(rope, dict)
        or rope.keys() - plain
        or {rope.get(key, "default") for key in ("rope_type", "type")} != {"default"}
        or rope.get("partial_rotary_factor", 1) != 1
    ):
        raise CheckpointError(file, f"rope_parameters is {_said(said)}, in ESM-2 it is plain")
    values = [own["rope_theta"] for own in (raw, rope) if own.get("rope_theta") is not None]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 1:
            raise CheckpointError(file, f"rope_theta is {_said(value)}, not a number above 1")
    if len({float(value) for value in values}) > 1:
        raise CheckpointError(file, f"rope_theta is said twice, {values[0]} and {values[1]}")
    return float(values[0]) if values else None
