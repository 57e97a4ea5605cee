"""Make the checkpoint that the package ships: random weights of a fixed seed.

    python tools/demo.py            writes src/esm2/demo/{config.json, model.safetensors}

The layout is Hugging Face's EsmForMaskedLM, stored as float16. Every number that comes out of it
is meaningless, and everything that shows it says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYERS, DIM, HEADS = 4, 128, 8
DIRECTORY = Path(__file__).parent.parent / "src" / "esm2" / "demo"

CONFIG = {
    "architectures": ["EsmForMaskedLM"],
    "model_type": "esm",
    "position_embedding_type": "rotary",
    "emb_layer_norm_before": False,
    "token_dropout": True,
    "hidden_size": DIM,
    "intermediate_size": 4 * DIM,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "layer_norm_eps": 1e-5,
    "vocab_size": 33,
    "mask_token_id": 32,
    "pad_token_id": 1,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1026,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def tensors(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights drawn so that activations keep their scale and attention is not uniform."""

    def linear(name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
        out[f"{name}.weight"] = generator.normal(0, gain * inputs**-0.5, (outputs, inputs))
        out[f"{name}.bias"] = generator.normal(0, 0.1, outputs)

    def norm(name: str) -> None:
        out[f"{name}.weight"] = 1 + generator.normal(0, 0.1, DIM)
        out[f"{name}.bias"] = generator.normal(0, 0.1, DIM)

    out: dict[str, np.ndarray] = {
        "esm.embeddings.word_embeddings.weight": generator.normal(0, 0.25, (33, DIM)),
        "lm_head.bias": generator.normal(0, 0.1, 33),
    }
    inv_freq = 10000.0 ** (-np.arange(0, DIM // HEADS, 2) / (DIM // HEADS))
    for i in range(LAYERS):
        layer = f"esm.encoder.layer.{i}"
        for name in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{name}", DIM, DIM, gain=1.5)
        out[f"{layer}.attention.self.rotary_embeddings.inv_freq"] = inv_freq
        linear(f"{layer}.attention.output.dense", DIM, DIM)
        norm(f"{layer}.attention.LayerNorm")
        linear(f"{layer}.intermediate.dense", DIM, 4 * DIM)
        linear(f"{layer}.output.dense", 4 * DIM, DIM)
        norm(f"{layer}.LayerNorm")
    norm("esm.encoder.emb_layer_norm_after")
    linear("lm_head.dense", DIM, DIM)
    norm("lm_head.layer_norm")
    out["esm.contact_head.regression.weight"] = generator.normal(0, 1.5, (1, LAYERS * HEADS))
    out["esm.contact_head.regression.bias"] = np.array([-2.0])
    return {name: array.astype(np.float16) for name, array in out.items()}


def main() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(
        tensors(np.random.default_rng(0)),
        DIRECTORY / "model.safetensors",
        metadata={"format": "pt"},
    )


if __name__ == "__main__":
    main()
