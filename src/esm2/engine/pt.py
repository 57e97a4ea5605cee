"""Results as .pt files, for programs that read them with torch.load."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch


def save(path: Path, content: Mapping[str, object]) -> None:
    """Write a .pt file; numpy arrays become tensors, at any depth of dicts.

    It is read with `weights_only=True`: nothing in it is code.

    Raises:
        OSError: the disk is full, or failed.
    """
    whole = io.BytesIO()  # of a file that cannot be written torch makes a RuntimeError
    torch.save(_tensors(content), whole)
    path.write_bytes(whole.getbuffer())


def _tensors(value: object) -> object:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Mapping):
        return {key: _tensors(own) for key, own in value.items()}
    return value
