"""fair-esm 2.0.0, as its command `esm-extract` and its variant prediction example use it.

The batches, the order and the gradients switched off are scripts/extract.py's, the scan, one
sequence a pass, that of examples/variant-prediction/predict.py. Files are not written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from esm import FastaBatchedDataset
from esm.model.esm2 import ESM2
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from benchmarks.speed.rivals.rival import AMINO_ACIDS, Array, check_attention_stack
from esm2.catalog import Shape
from esm2.engine.names import Layout, spelled

_TOKENS_PER_BATCH = 4096  # the default of --toks_per_batch


class _FairEsm:
    def __init__(self, model: ESM2) -> None:
        self.model = model
        self._shape = Shape(model.num_layers, model.embed_dim, model.attention_heads)
        self._converter = model.alphabet.get_batch_converter()

    @torch.no_grad()
    def embed(self, proteins: Sequence[str]) -> Array:
        dataset = FastaBatchedDataset(range(len(proteins)), proteins)
        batches = dataset.get_batch_indices(_TOKENS_PER_BATCH, extra_toks_per_seq=1)
        loader = DataLoader(dataset, collate_fn=self._converter, batch_sampler=batches)
        layer = self._shape.layers
        means = np.empty((len(proteins), self._shape.dim), np.float32)
        for labels, strings, tokens in loader:
            hidden = self.model(tokens, repr_layers=[layer])["representations"][layer]
            for row, (label, string) in enumerate(zip(labels, strings, strict=True)):
                means[label] = hidden[row, 1 : len(string) + 1].mean(0)
        return means

    @torch.no_grad()
    def contacts(self, protein: str) -> Array:
        check_attention_stack(self._shape, len(protein))
        output = self.model(self._tokens(protein), return_contacts=True)
        contacts: Array = output["contacts"][0].numpy()
        return contacts

    @torch.no_grad()
    def scan(self, protein: str) -> Array:
        tokens = self._tokens(protein)
        rows = []
        for position in range(1, len(protein) + 1):
            masked = tokens.clone()
            masked[0, position] = self.model.mask_idx
            rows.append(self.model(masked)["logits"][0, position, AMINO_ACIDS].numpy())
        return np.stack(rows)

    def _tokens(self, protein: str) -> torch.Tensor:
        _, _, tokens = self._converter([("", protein)])
        return tokens


def load(checkpoint: Path) -> _FairEsm:
    """The weights under fair-esm's names in fair-esm's model, which has no other way in."""
    tensors = load_file(checkpoint / "model.safetensors")
    layers = sum(name.endswith(".intermediate.dense.weight") for name in tensors)
    heads = tensors["esm.contact_head.regression.weight"].shape[1] // layers
    dim = tensors["esm.embeddings.word_embeddings.weight"].shape[1]
    theirs = dict(spelled(layers, Layout.HUGGING_FACE))
    state = {
        name: tensors[theirs[ours]]
        for ours, name in spelled(layers, Layout.FAIR_ESM)
        if theirs[ours] in tensors
    }
    state["lm_head.weight"] = state["embed_tokens.weight"]
    model = ESM2(layers, dim, heads)
    model.load_state_dict(state)
    return _FairEsm(model.eval())
