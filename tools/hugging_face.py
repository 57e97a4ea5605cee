"""Writing an ESM-2 checkpoint as Hugging Face's EsmForMaskedLM: config.json, model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from esm2.catalog import Shape


def save(shape: Shape, tensors: Mapping[str, NDArray[np.floating[Any]]], directory: Path) -> None:
    """Write both files.

    Args:
        tensors: under Hugging Face's names, in the dtype in which they are stored.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(_config(shape), indent=2) + "\n")
    file = directory / "model.safetensors"
    save_file(dict(tensors), file, metadata={"format": "pt"})
    file.chmod(0o644)


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["EsmForMaskedLM"],
        "model_type": "esm",
        "position_embedding_type": "rotary",
        "emb_layer_norm_before": False,
        "token_dropout": True,
        "hidden_size": shape.dim,
        "intermediate_size": 4 * shape.dim,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "layer_norm_eps": 1e-5,
        "vocab_size": 33,
        "mask_token_id": 32,
        "pad_token_id": 1,
        "tie_word_embeddings": True,
        "max_position_embeddings": 1026,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
