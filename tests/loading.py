"""Loading in tests: a small checkpoint, right or with something wrong in it, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from esm2.engine.engine import Engine
from esm2.errors import CheckpointError
from tests.checkpoints import SHAPES, hf_config, hf_tensors, random_fair_esm, write_hf

#: Three layers; small enough to write a hundred times.
MODEL = random_fair_esm(*SHAPES["odd"], seed=3)
LAYER = "esm.encoder.layer.1"

_DEAD_OR_TIED = (
    "esm.embeddings.position_embeddings.weight",
    "esm.embeddings.position_ids",
    "lm_head.decoder.weight",
)


def load(path: Path) -> Engine:
    return Engine.load(path, "custom", device="cpu")


def refusal(path: Path) -> str:
    """What the loader says when it refuses `path`; the test fails if it does not refuse."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.parent) in message
    return message


def live_tensors() -> dict[str, Tensor]:
    """The Hugging Face tensors without the dead and the tied ones: each of them is needed."""
    return {n: t for n, t in hf_tensors(MODEL).items() if n not in _DEAD_OR_TIED}


def write_with(directory: Path, config: dict[str, Any] | None = None, **tensors: Tensor) -> Path:
    """Write the checkpoint with some settings and tensors replaced or added."""
    return write_hf(directory, hf_config(MODEL) | (config or {}), live_tensors() | tensors)
