"""Weights: a checkpoint on disk -> named tensors that are views of the mapped file.

    Hugging Face directory   config.json + model.safetensors | model.safetensors.index.json
                             | pytorch_model.bin | pytorch_model.bin.index.json
    a trainer's file         X.ckpt, X.pt, ... with a config.json beside it
    fair-esm                 X.pt + X-contact-regression.pt

Both spell the same tensors differently; `names.py` brings them to one spelling and `assemble.py`
checks every one. `look.py` sees every file before a loader does. Nothing foreign is ever unpickled:
torch files are read with `weights_only=True`.

Source of the layouts: the hub repositories; facebookresearch/esm, esm/pretrained.py.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from esm2.engine import look
from esm2.engine.assemble import assemble
from esm2.engine.config import Config, fair_esm_config, hugging_face_config, json_object
from esm2.engine.model import ESM2
from esm2.engine.names import Layout, NamedTensors, rename
from esm2.engine.vocabulary import check_vocabulary
from esm2.errors import CheckpointError

# Files that torch writes, whoever made them.
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")

# Where trainers put the tensors among what else they save.
_STATES = ("state_dict", "model_state_dict", "model", "module")


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model, the sha256 of each of its weight files, and what of them it does not use.

    Attributes:
        sha256: in the order of the names of the files.
        unused: names of tensors, as `NamedTensors` has them.
    """

    model: ESM2
    sha256: tuple[str, ...]
    unused: tuple[str, ...]


def load_checkpoint(path: Path, device: torch.device) -> Loaded:
    """Load a checkpoint in float32.

    Args:
        path: a Hugging Face directory, a fair-esm `.pt` file, or a file that a trainer saved, with
            the config.json of its model beside it.
        device: where the tensors go; on the CPU, float32 tensors stay views of the file.

    Raises:
        CheckpointError: it is not an ESM-2 checkpoint; the message names the tensor or setting, or
            says what is there instead.
    """
    try:
        if not path.exists():
            raise CheckpointError(path, look.what_is_missing(path))
        if path.is_dir():
            config, named, files = _directory(path)
        elif path.suffix in _TORCH_SUFFIXES:
            config, named, files = _torch_checkpoint(path)
        else:
            raise CheckpointError(path, look.what_file(path))
        hashes = tuple(_sha256(file) for file in sorted(files))
    except OSError as error:
        where = Path(error.filename) if isinstance(error.filename, str) else path
        raise CheckpointError(where, f"cannot be read: {error.strerror or error}") from error
    return Loaded(assemble(config, named, device), hashes, named.unused)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Hugging Face ------------------------------------------------------------------------------


def _directory(path: Path) -> tuple[Config, NamedTensors, list[Path]]:
    if not (path / "config.json").is_file():
        raise CheckpointError(path, look.what_directory(path))
    if adapter := look.adapter_fault(path):
        raise CheckpointError(path, adapter)
    config = hugging_face_config(path)
    files = _weight_files(path)
    check_vocabulary(path)
    tensors: dict[str, Tensor] = {}
    for file in files:
        more = _safetensors(file) if file.suffix == ".safetensors" else _state(file, _torch(file))
        _merge(file, tensors, more)
    return config, rename(path, config.shape.layers, tensors, Layout.HUGGING_FACE), files


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
            weight_map = json_object(index).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise CheckpointError(index, "has no weight_map")
            # Every name is checked before they are compared: they need not be strings.
            shards = {_shard(path, index, shard) for shard in weight_map.values()}
            if gone := sorted(shard.name for shard in shards if not shard.is_file()):
                reason = (
                    f"lacks {len(gone)} of its {len(shards)} files of weights, {', '.join(gone)},"
                    f" which {index.name} names: download or copy them again"
                )
                raise CheckpointError(path, reason)
            return sorted(shards)
    raise CheckpointError(path, look.what_weights(path))


def _shard(path: Path, index: Path, name: object) -> Path:
    if not isinstance(name, str) or Path(name).name != name:
        raise CheckpointError(index, f"names {name!r}, which is not a file beside it")
    return path / name


def _safetensors(file: Path) -> dict[str, Tensor]:
    look.refuse_foreign_file(file, "safetensors")
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(file, f"is damaged: {error}") from error


# --- files of torch ----------------------------------------------------------------------------


def _torch_checkpoint(path: Path) -> tuple[Config, NamedTensors, list[Path]]:
    """A file by itself: fair-esm's, which has its settings in it, or a trainer's."""
    content = _torch(path)
    cfg = content.get("cfg")
    settings = cfg.get("model") if isinstance(cfg, dict) else None
    if isinstance(settings, argparse.Namespace):
        return _fair_esm(path, fair_esm_config(path, settings), content)
    if (path.parent / "config.json").is_file():
        config = hugging_face_config(path.parent)
        check_vocabulary(path.parent)
        tensors = _state(path, content)
        return config, rename(path, config.shape.layers, tensors, Layout.HUGGING_FACE), [path]
    raise CheckpointError(path, _without_settings(content))


def _without_settings(content: dict[str, Any]) -> str:
    """What a file of torch is that does not say how its model is built."""
    if isinstance(content.get("args"), argparse.Namespace):
        return "is a checkpoint of fair-esm's ESM-1 (ESM-1b, ESM-1v, MSA): this program has ESM-2"
    if "pytorch-lightning_version" in content:
        what = "a checkpoint of Lightning"
    elif content and all(isinstance(value, Tensor) for value in content.values()):
        what = "a state dict"
    else:
        what = "a training checkpoint"
    return (
        f"is {what} without the settings of its model (no cfg['model'], as fair-esm has, and no"
        " config.json beside it): copy the config.json of the model that was trained to there, or"
        " call model.save_pretrained(DIR) where it was made and name that directory"
    )


def _fair_esm(
    path: Path, config: Config, content: dict[str, Any]
) -> tuple[Config, NamedTensors, list[Path]]:
    tensors, files = _fair_esm_state(path, content), [path]
    regression = path.with_name(f"{path.stem}-contact-regression.pt")
    if regression.is_file() or regression.is_symlink():
        _merge(regression, tensors, _fair_esm_state(regression, _torch(regression)))
        files.append(regression)
    return config, rename(path, config.shape.layers, tensors, Layout.FAIR_ESM), files


def _fair_esm_state(path: Path, content: dict[str, Any]) -> dict[str, Tensor]:
    state = content.get("model")
    if not isinstance(state, dict):
        raise CheckpointError(path, "has no 'model' with tensors: not a fair-esm checkpoint")
    return _only_tensors(path, state)


def _state(path: Path, content: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file, by themselves or among what a trainer saves."""
    for key in _STATES:
        if isinstance(content.get(key), dict):
            return _only_tensors(path, content[key])
    return _only_tensors(path, content)


def _only_tensors(path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(path, f"{name} is not a tensor")
    return dict(state)


def _torch(path: Path) -> dict[str, Any]:
    """A torch file as plain values and tensors; the one class that fair-esm needs is allowed."""
    look.refuse_foreign_file(path, "torch")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Files of torch < 1.6 are not zip files and cannot be mapped.
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise CheckpointError(path, look.refused_by_torch(error)) from error
    if not isinstance(content, dict):
        raise CheckpointError(path, "is not a dictionary of tensors")
    return content
