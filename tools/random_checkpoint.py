"""Make an ESM-2 checkpoint of random weights, in Hugging Face's EsmForMaskedLM layout.

    python tools/random_checkpoint.py --demo                     the one that the package ships
    python tools/random_checkpoint.py --model esm2-650m OUT      an official shape, for benchmarks

Every number that such a model gives is meaningless; how long it takes and how much memory it needs
is not. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from esm2.catalog import Shape, find

DEMO_SHAPE = Shape(layers=4, dim=128, heads=8)
DEMO_DIRECTORY = Path(__file__).parent.parent / "src" / "esm2" / "demo"

Named = Iterator[tuple[str, np.ndarray]]


def config(shape: Shape) -> dict[str, object]:
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


class _Draw:
    """Weights drawn so that activations keep their scale and attention is not uniform."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._generator = np.random.default_rng(seed)

    def model(self) -> Named:
        shape = self._shape
        yield "esm.embeddings.word_embeddings.weight", self._normal(0.25, 33, shape.dim)
        # float16 and back, as the official files carry it.
        inv_freq = 10000.0 ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)
        for i in range(shape.layers):
            layer = f"esm.encoder.layer.{i}"
            for name in ("query", "key", "value"):
                yield from self._linear(f"{layer}.attention.self.{name}", shape.dim, shape.dim, 1.5)
            yield (
                f"{layer}.attention.self.rotary_embeddings.inv_freq",
                inv_freq.astype(np.float16).astype(np.float32),
            )
            yield from self._linear(f"{layer}.attention.output.dense", shape.dim, shape.dim)
            yield from self._norm(f"{layer}.attention.LayerNorm")
            yield from self._linear(f"{layer}.intermediate.dense", shape.dim, 4 * shape.dim)
            yield from self._linear(f"{layer}.output.dense", 4 * shape.dim, shape.dim)
            yield from self._norm(f"{layer}.LayerNorm")
        yield from self._norm("esm.encoder.emb_layer_norm_after")
        yield from self._linear("lm_head.dense", shape.dim, shape.dim)
        yield from self._norm("lm_head.layer_norm")
        yield "lm_head.bias", self._normal(0.1, 33)
        features = shape.layers * shape.heads
        yield "esm.contact_head.regression.weight", self._normal(8 / features**0.5, 1, features)
        yield "esm.contact_head.regression.bias", np.array([-2.0], dtype=np.float32)

    def _linear(self, name: str, inputs: int, outputs: int, gain: float = 1.0) -> Named:
        yield f"{name}.weight", self._normal(gain * inputs**-0.5, outputs, inputs)
        yield f"{name}.bias", self._normal(0.1, outputs)

    def _norm(self, name: str) -> Named:
        yield f"{name}.weight", 1 + self._normal(0.1, self._shape.dim)
        yield f"{name}.bias", self._normal(0.1, self._shape.dim)

    def _normal(self, scale: float, *size: int) -> np.ndarray:
        return self._generator.standard_normal(size, dtype=np.float32) * np.float32(scale)


def write(shape: Shape, directory: Path, dtype: type[np.floating], seed: int = 0) -> None:
    """Write config.json and model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config(shape), indent=2) + "\n")
    tensors = {name: array.astype(dtype) for name, array in _Draw(shape, seed).model()}
    file = directory / "model.safetensors"
    save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--demo", action="store_true", help="write src/esm2/demo, as float16")
    which.add_argument("--model", help="the official model whose shape it gets, as float32")
    parser.add_argument("directory", type=Path, nargs="?", help="where to, with --model")
    arguments = parser.parse_args()
    if arguments.demo:
        write(DEMO_SHAPE, DEMO_DIRECTORY, np.float16)
        return
    official = find(arguments.model)
    if official is None or arguments.directory is None:
        parser.error("--model needs the name of an official model and a directory")
    write(official.shape, arguments.directory, np.float32)


if __name__ == "__main__":
    main()
