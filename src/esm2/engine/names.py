"""The names of tensors: two published spellings, and ours.

    ours               Hugging Face                              fair-esm
    embedding          esm.embeddings.word_embeddings.weight     embed_tokens.weight
    layers.0.up.bias   esm.encoder.layer.0.intermediate.dense..  layers.0.fc1.bias
    layers.0.inv_freq  ....rotary_embeddings.inv_freq            ....rot_emb.inv_freq
    output             lm_head.decoder.weight                    lm_head.weight      (tied)

A name that the table does not hold is an error: an extra tensor means another architecture.
Errors speak of a tensor as its own file does.

Source: transformers convert_esm.py; facebookresearch/esm, esm/pretrained.py. transformers 5 writes
norms as gamma and beta, and the rotary buffer once, under a literal `layer.*` or without a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from torch import Tensor

from esm2.errors import CheckpointError


class Layout(Enum):
    """How a checkpoint spells the names of its tensors: the column of `_TABLE`."""

    HUGGING_FACE = 1
    FAIR_ESM = 2


_HF = "esm.encoder.layer.{i}"

# Ours, Hugging Face, fair-esm. `.*` stands for both .weight and .bias, {i} for every layer.
_TABLE = (
    ("embedding", "esm.embeddings.word_embeddings.weight", "embed_tokens.weight"),
    (
        "layers.{i}.attention_norm.*",
        f"{_HF}.attention.LayerNorm.*",
        "layers.{i}.self_attn_layer_norm.*",
    ),
    ("layers.{i}.query.*", f"{_HF}.attention.self.query.*", "layers.{i}.self_attn.q_proj.*"),
    ("layers.{i}.key.*", f"{_HF}.attention.self.key.*", "layers.{i}.self_attn.k_proj.*"),
    ("layers.{i}.value.*", f"{_HF}.attention.self.value.*", "layers.{i}.self_attn.v_proj.*"),
    ("layers.{i}.out.*", f"{_HF}.attention.output.dense.*", "layers.{i}.self_attn.out_proj.*"),
    (
        "layers.{i}.inv_freq",
        f"{_HF}.attention.self.rotary_embeddings.inv_freq",
        "layers.{i}.self_attn.rot_emb.inv_freq",
    ),
    ("layers.{i}.ffn_norm.*", f"{_HF}.LayerNorm.*", "layers.{i}.final_layer_norm.*"),
    ("layers.{i}.up.*", f"{_HF}.intermediate.dense.*", "layers.{i}.fc1.*"),
    ("layers.{i}.down.*", f"{_HF}.output.dense.*", "layers.{i}.fc2.*"),
    ("final_norm.*", "esm.encoder.emb_layer_norm_after.*", "emb_layer_norm_after.*"),
    ("head.dense.*", "lm_head.dense.*", "lm_head.dense.*"),
    ("head.norm.*", "lm_head.layer_norm.*", "lm_head.layer_norm.*"),
    ("head.bias", "lm_head.bias", "lm_head.bias"),
    ("output", "lm_head.decoder.weight", "lm_head.weight"),
    ("contact.*", "esm.contact_head.regression.*", "contact_head.regression.*"),
)

# The one inv_freq of all layers, as two releases of transformers 5 write it.
_SHARED_INV_FREQ = (
    "esm.rotary_embeddings.inv_freq",
    "esm.encoder.layer.*.attention.self.rotary_embeddings.inv_freq",
)

# Learned positions that a rotary model never uses; official files carry them all the same.
_DEAD = frozenset({"esm.embeddings.position_embeddings.weight", "esm.embeddings.position_ids"})

_FAIR_ESM_PREFIXES = ("encoder.sentence_encoder.", "encoder.")


@dataclass(frozen=True, slots=True, eq=False)
class NamedTensors:
    """The tensors of a checkpoint under our names.

    Attributes:
        path: of the checkpoint, for errors.
        tensors: our name -> tensor.
        spelling: our name -> the name in this layout, for errors; every name, present or not.
    """

    path: Path
    tensors: dict[str, Tensor]
    spelling: Mapping[str, str]


def rename(path: Path, layers: int, tensors: Mapping[str, Tensor], layout: Layout) -> NamedTensors:
    """Bring the tensors of a checkpoint under our names.

    Raises:
        CheckpointError: a name that ESM-2 of that many layers has not, or two for one tensor.
    """
    spelling = dict(spelled(layers, layout))
    ours_of = {theirs: ours for ours, theirs in spelling.items()}
    ours_of |= dict.fromkeys(_SHARED_INV_FREQ, "inv_freq")
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _DEAD:
            continue
        ours = ours_of.get(_spelled_as_today(name))
        if ours is None:
            reason = f"extra tensor {name}: ESM-2 with {layers} layers has none of that name"
            raise CheckpointError(path, reason)
        if ours in renamed:
            raise CheckpointError(path, f"tensor {name} is there twice, in two spellings")
        renamed[ours] = tensor
    return NamedTensors(path, renamed, spelling)


def spelled(layers: int, layout: Layout) -> Iterator[tuple[str, str]]:
    """(our name, the name in that layout) of every tensor that ESM-2 of so many layers may have."""
    for row in _TABLE:
        ours, theirs = row[0], row[layout.value]
        for i in range(layers) if "{i}" in ours else (0,):
            for kind in (".weight", ".bias") if ours.endswith(".*") else ("",):
                yield (
                    ours.removesuffix(".*").format(i=i) + kind,
                    theirs.removesuffix(".*").format(i=i) + kind,
                )


def _spelled_as_today(name: str) -> str:
    for prefix in _FAIR_ESM_PREFIXES:
        name = name.removeprefix(prefix)
    if name.endswith(".gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith(".beta"):
        return name.removesuffix("beta") + "bias"
    return name
