"""Weights: a checkpoint on disk -> named tensors that are views of the mapped file.

    Hugging Face directory   config.json + model.safetensors | model.safetensors.index.json
                             | pytorch_model.bin | pytorch_model.bin.index.json
    fair-esm                 X.pt + X-contact-regression.pt

Both spell the same tensors differently; `names.py` brings them to one spelling and `assemble.py`
checks every one. Nothing foreign is ever unpickled: torch files are read with `weights_only=True`.

Source of the layouts: the hub repositories; facebookresearch/esm, esm/pretrained.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from esm2.alphabet import MASK, TOKENS
from esm2.catalog import Shape
from esm2.engine.assemble import Config, assemble
from esm2.engine.model import ESM2
from esm2.engine.names import Layout, NamedTensors, rename
from esm2.errors import CheckpointError


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model and the sha256 of each of its weight files, in the order of their names."""

    model: ESM2
    sha256: tuple[str, ...]


def load_checkpoint(path: Path, device: torch.device) -> Loaded:
    """Load a checkpoint in float32.

    Args:
        path: a Hugging Face directory or a fair-esm `.pt` file.
        device: where the tensors go; on the CPU, float32 tensors stay views of the file.

    Raises:
        CheckpointError: it is not an ESM-2 checkpoint; the message names the tensor or setting.
    """
    if not path.exists():
        raise CheckpointError(path, "no such file or directory")
    try:
        if path.is_dir():
            config, named, files = _hugging_face(path)
        elif path.suffix == ".pt":
            config, named, files = _fair_esm(path)
        else:
            raise CheckpointError(path, "is neither a Hugging Face directory nor a fair-esm .pt")
        hashes = tuple(_sha256(file) for file in sorted(files))
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error
    return Loaded(assemble(config, named, device), hashes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Hugging Face ------------------------------------------------------------------------------

# What makes an ESM configuration an ESM-2 one. A key that is absent has transformers' default,
# which is right for the last two and wrong for the others.
_ESM2_SETTINGS: dict[str, Any] = {
    "model_type": "esm",
    "position_embedding_type": "rotary",
    "vocab_size": len(TOKENS),
    "mask_token_id": MASK,
    "pad_token_id": TOKENS.index("<pad>"),
}
_ESM2_ABSENT_OR_FALSE = ("emb_layer_norm_before", "is_folding_model")


def _hugging_face(path: Path) -> tuple[Config, NamedTensors, list[Path]]:
    config = _hugging_face_config(path)
    files = _weight_files(path)
    tensors: dict[str, Tensor] = {}
    for file in files:
        more = _safetensors(file) if file.suffix == ".safetensors" else _torch_state(file)
        _merge(file, tensors, more)
    return config, rename(path, config.shape.layers, tensors, Layout.HUGGING_FACE), files


def _hugging_face_config(path: Path) -> Config:
    file = path / "config.json"
    if not file.is_file():
        raise CheckpointError(path, "has no config.json: not a Hugging Face checkpoint")
    raw = _json(file)
    for key, value in _ESM2_SETTINGS.items():
        if raw.get(key) != value:
            raise CheckpointError(file, f"{key} is {raw.get(key)!r}, in ESM-2 it is {value!r}")
    for key in _ESM2_ABSENT_OR_FALSE:
        if raw.get(key):
            raise CheckpointError(file, f"{key} is {raw[key]!r}, in ESM-2 it is false")
    config = Config(
        shape=_shape(file, raw, "num_hidden_layers", "hidden_size", "num_attention_heads"),
        token_dropout=bool(raw.get("token_dropout", False)),
        eps=_eps(file, raw.get("layer_norm_eps", 1e-12)),  # transformers' default
        tied=bool(raw.get("tie_word_embeddings", True)),
    )
    if raw.get("intermediate_size") != 4 * config.shape.dim:
        raise CheckpointError(
            file, f"intermediate_size is {raw.get('intermediate_size')!r}, in ESM-2 it is 4 D"
        )
    return config


def _shape(path: Path, raw: dict[str, Any], *keys: str) -> Shape:
    for key in keys:
        if not isinstance(raw.get(key), int) or raw[key] < 1:
            raise CheckpointError(path, f"{key} is {raw.get(key)!r}, not a positive whole number")
    shape = Shape(*(raw[key] for key in keys))
    if shape.dim % shape.heads or shape.head_dim % 2:
        raise CheckpointError(path, f"{shape} does not divide into heads of even size")
    return shape


def _eps(file: Path, value: object) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise CheckpointError(file, f"layer_norm_eps is {value!r}, not a small number")
    return value


def _merge(file: Path, tensors: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    if both := tensors.keys() & more.keys():
        raise CheckpointError(file, f"tensor {min(both)} is in another file of the checkpoint too")
    tensors |= more


def _weight_files(path: Path) -> list[Path]:
    """The files that hold the tensors: one, or those that an index names."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return [path / name]
        index = path / f"{name}.index.json"
        if index.is_file():
            weight_map = _json(index).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise CheckpointError(index, "has no weight_map")
            # Every name is checked before they are compared: they need not be strings.
            shards = [_shard(path, index, shard) for shard in weight_map.values()]
            return sorted(set(shards))
    raise CheckpointError(
        path, "holds neither model.safetensors nor pytorch_model.bin, nor an index"
    )


def _shard(path: Path, index: Path, name: object) -> Path:
    if not isinstance(name, str) or Path(name).name != name:
        raise CheckpointError(index, f"names {name!r}, which is not a file beside it")
    if not (path / name).is_file():
        raise CheckpointError(path, f"lacks {name}, which {index.name} names")
    return path / name


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(file, f"is damaged: {error}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(file, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(file, "is not a JSON object")
    return raw


# --- fair-esm ----------------------------------------------------------------------------------


def _fair_esm(path: Path) -> tuple[Config, NamedTensors, list[Path]]:
    content = _torch_file(path)
    cfg = content.get("cfg")
    model = cfg.get("model") if isinstance(cfg, dict) else None
    if not isinstance(model, argparse.Namespace):
        raise CheckpointError(path, "has no cfg['model']: not a fair-esm ESM-2 checkpoint")
    settings = vars(model)
    config = Config(
        shape=_shape(
            path, settings, "encoder_layers", "encoder_embed_dim", "encoder_attention_heads"
        ),
        token_dropout=bool(settings.get("token_dropout", False)),
        eps=1e-5,  # nn.LayerNorm's default, which fair-esm uses
        tied=True,
    )
    tensors, files = _state(path, content), [path]
    regression = path.with_name(f"{path.stem}-contact-regression.pt")
    if regression.is_file():
        _merge(regression, tensors, _state(regression, _torch_file(regression)))
        files.append(regression)
    return config, rename(path, config.shape.layers, tensors, Layout.FAIR_ESM), files


def _state(path: Path, content: dict[str, Any]) -> dict[str, Tensor]:
    state = content.get("model")
    if not isinstance(state, dict):
        raise CheckpointError(path, "has no 'model' with tensors: not a fair-esm checkpoint")
    return _only_tensors(path, state)


def _torch_state(path: Path) -> dict[str, Tensor]:
    return _only_tensors(path, _torch_file(path))


def _only_tensors(path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(path, f"{name} is not a tensor")
    return dict(state)


def _torch_file(path: Path) -> dict[str, Any]:
    """A torch file as plain values and tensors; the one class that fair-esm needs is allowed."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Files of torch < 1.6 are not zip files and cannot be mapped.
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(path, f"is not a file of plain tensors: {reason}") from error
    if not isinstance(content, dict):
        raise CheckpointError(path, "is not a dictionary of tensors")
    return content
