"""What was learned, as a checkpoint that the engine, transformers and anyone else can load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from esm2.catalog import Shape
from esm2.engine.names import Layout, spelled
from tools.hugging_face import save
from training.contacts import Regression
from training.model import inv_freq


def export(
    shape: Shape,
    weights: Mapping[str, Tensor],
    directory: Path,
    contacts: Regression | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write config.json and model.safetensors.

    Args:
        weights: the parameters of a `Learner`, under its names, which are the engine's.
        contacts: the contact head; without one, the checkpoint refuses contacts.
        dtype: in which the numbers are stored.
    """
    tensors = dict(weights)
    for layer in range(shape.layers):
        tensors[f"layers.{layer}.inv_freq"] = inv_freq(shape)
    if contacts is not None:
        tensors["contact.weight"] = torch.from_numpy(contacts.weight)[None]
        tensors["contact.bias"] = torch.tensor([contacts.bias])
    names = dict(spelled(shape.layers, Layout.HUGGING_FACE))
    save(shape, {names[name]: t.to(dtype).numpy() for name, t in tensors.items()}, directory)
