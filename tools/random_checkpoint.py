"""Make an ESM-2 checkpoint of random weights, in Hugging Face's EsmForMaskedLM layout.

    python -m tools.random_checkpoint esm2-650m OUT      an official shape, for benchmarks

Every number that such a model gives is meaningless; how long it takes and how much memory it needs
is not. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from esm2.catalog import Shape, find
from tools.hugging_face import save

Named = Iterator[tuple[str, np.ndarray]]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the official model whose shape it gets")
    parser.add_argument("directory", type=Path, help="where to write it, as float32")
    arguments = parser.parse_args()
    official = find(arguments.model)
    if official is None:
        parser.error(f"{arguments.model} is not the name of an official model")
    save(official.shape, dict(_Draw(official.shape, seed=0).model()), arguments.directory)


if __name__ == "__main__":
    main()
