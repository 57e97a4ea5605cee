"""The names of tensors: two published spellings, and ours.

    ours               Hugging Face                              fair-esm
    embedding          esm.embeddings.word_embeddings.weight     embed_tokens.weight
    layers.0.up.bias   esm.encoder.layer.0.intermediate.dense..  layers.0.fc1.bias
    layers.0.inv_freq  ....rotary_embeddings.inv_freq            ....rot_emb.inv_freq
    output             lm_head.decoder.weight                    lm_head.weight      (tied)

Whatever a trainer put before the names is understood by where the embedding is. A name of the trunk
that the table does not hold is an error: an extra tensor means another architecture. Other heads
are left out, by name.
Errors speak of a tensor as its own file does.

Source: transformers convert_esm.py; facebookresearch/esm, esm/pretrained.py. transformers 5 writes
norms as gamma and beta, and the rotary buffer once, under a literal `layer.*` or without a layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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

# What stands on the trunk or beside it and reads its embeddings: nothing of it is computed here.
_HEADS = frozenset(
    {
        *("pooler", "classifier", "score", "qa_outputs", "regressor", "regression_head"),
        *("classification_head", "head", "heads", "criterion", "loss"),
    }
)

# By its ending, where a trunk of Hugging Face's begins.
_EMBEDDING = "embeddings.word_embeddings.weight"

# What compiling, sharding and checkpointing put into names, anywhere.
_WRAPPERS = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_FAIR_ESM_PREFIXES = ("module.", "model.", "encoder.sentence_encoder.", "encoder.")

# In names of tensors, and what they come from.
_FOREIGN = (
    (("lora_", ".base_layer.", "ia3_"), "of a PEFT adapter: merge it, merge_and_unload()"),
    (
        ("absmax", "quant_map", "quant_state", "qweight", "qzeros", ".SCB", "weight_scale"),
        "of quantised weights: save the model as it was before",
    ),
    (("crossattention.",), "of a decoder, which ESM-2 is not"),
)


@dataclass(frozen=True, slots=True, eq=False)
class NamedTensors:
    """The tensors of a checkpoint under our names.

    Attributes:
        path: of the checkpoint, for errors.
        tensors: our name -> tensor.
        spelling: our name -> the name in this layout, for errors; every name, present or not.
        unused: names in the checkpoint of what nothing here computes with: other heads and, beside
            them, dead buffers; none where there are only the dead ones of the official files.
    """

    path: Path
    tensors: dict[str, Tensor]
    spelling: Mapping[str, str]
    unused: tuple[str, ...] = ()


def rename(path: Path, layers: int, tensors: Mapping[str, Tensor], layout: Layout) -> NamedTensors:
    """Bring the tensors of a checkpoint under our names.

    Raises:
        CheckpointError: a name that ESM-2 of that many layers has not, or two for one tensor.
    """
    published = dict(spelled(layers, layout))
    ours_of = {theirs: ours for ours, theirs in published.items()}
    ours_of |= dict.fromkeys(_SHARED_INV_FREQ, "inv_freq")
    place = _place(path, tensors) if layout is Layout.HUGGING_FACE else None
    renamed: dict[str, Tensor] = {}
    unused, heads = [], False
    for name, tensor in tensors.items():
        theirs = place.published(name) if place else _of_fair_esm(name)
        is_head = theirs.removeprefix("esm.").partition(".")[0] in _HEADS
        if theirs in _DEAD or is_head:
            unused.append(name)
            heads |= is_head
            continue
        ours = ours_of.get(_spelled_as_today(theirs))
        if ours is None:
            raise CheckpointError(path, _extra(name, theirs, layers))
        if ours in renamed:
            raise CheckpointError(path, f"tensor {name} is there twice, in two spellings")
        renamed[ours] = tensor
    spelling = {ours: place.found(own) if place else own for ours, own in published.items()}
    return NamedTensors(path, renamed, spelling, tuple(unused) if heads else ())


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the names of a checkpoint the trunk is, and where what stands on it.

    esm.encoder...                       EsmForMaskedLM     trunk "esm."             outer ""
    encoder...                           EsmModel           trunk ""                 outer ""
    model.module.esm.encoder...          a trainer          trunk "model.module.esm."
    plm.encoder...  head.weight          a trainer          trunk "plm."
    """

    trunk: str

    @property
    def outer(self) -> str:
        whole = self.trunk == "esm." or self.trunk.endswith(".esm.")
        return self.trunk.removesuffix("esm.") if whole else self.trunk

    def published(self, name: str) -> str:
        """A name as EsmForMaskedLM has it."""
        name = _WRAPPERS.sub("", name)
        if name.startswith(self.trunk):
            inner = name.removeprefix(self.trunk)
            beside = inner.partition(".")[0] in _HEADS | {"lm_head"}
            return inner if self.outer == self.trunk and beside else f"esm.{inner}"
        return name.removeprefix(self.outer)

    def found(self, name: str) -> str:
        """The other way round, for errors."""
        if name.startswith("esm."):
            return self.trunk + name.removeprefix("esm.")
        return self.outer + name


def _place(path: Path, names: Iterable[str]) -> _Place:
    trunks = []
    for name in names:
        plain = _WRAPPERS.sub("", name)
        if plain == _EMBEDDING or plain.endswith(f".{_EMBEDDING}"):
            trunks.append(plain.removesuffix(_EMBEDDING))
    if len(trunks) > 1:
        under = " and ".join(repr(trunk) for trunk in sorted(trunks))
        raise CheckpointError(path, f"holds {len(trunks)} models, under {under}: save one of them")
    return _Place(trunks[0] if trunks else "esm.")


def _extra(name: str, theirs: str, layers: int) -> str:
    """What to say of a tensor that has no place."""
    for parts, what in _FOREIGN:
        if any(part in name for part in parts):
            return f"extra tensor {name} {what}, and call save_pretrained(DIR)"
    reason = f"extra tensor {name}: ESM-2 with {layers} layers has none of that name"
    if theirs.startswith(("esm.", "lm_head.", "layers.", "embed", "contact_head.")):
        return reason
    return f"{reason}; if it is of a head of your own, save the trunk alone, save_pretrained(DIR)"


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


def _of_fair_esm(name: str) -> str:
    name = _WRAPPERS.sub("", name)
    for prefix in _FAIR_ESM_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _spelled_as_today(name: str) -> str:
    if name.endswith(".gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith(".beta"):
        return name.removesuffix("beta") + "bias"
    return name
