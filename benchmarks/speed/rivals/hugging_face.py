"""transformers' EsmForMaskedLM with sdpa attention, padded batches of 8.

Most people give their proteins in the order in which they have them; `order="sorted"` is for those
who know that it pays to sort them by length.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import BatchEncoding, EsmForMaskedLM, EsmTokenizer

from benchmarks.speed.rivals.rival import AMINO_ACIDS, Array, check_attention_stack
from esm2.alphabet import TOKENS
from esm2.catalog import Shape

_BATCH = 8


class _HuggingFace:
    def __init__(self, checkpoint: Path, order: str) -> None:
        model = EsmForMaskedLM.from_pretrained(checkpoint, attn_implementation="sdpa")
        self._model = model.eval()
        self._tokenizer = _tokenizer()
        self._sorted = order == "sorted"
        config = model.config
        heads = config.num_attention_heads
        self._shape = Shape(config.num_hidden_layers, config.hidden_size, heads)

    @torch.no_grad()
    def embed(self, proteins: Sequence[str]) -> Array:
        means = np.empty((len(proteins), self._shape.dim), np.float32)
        for batch in self._batches(proteins):
            inputs = self._inputs([proteins[i] for i in batch])
            hidden = self._model.esm(**inputs).last_hidden_state
            for row, i in enumerate(batch):
                means[i] = hidden[row, 1 : len(proteins[i]) + 1].mean(0)
        return means

    @torch.no_grad()
    def contacts(self, protein: str) -> Array:
        check_attention_stack(self._shape, len(protein))
        inputs = self._inputs([protein])
        self._model.set_attn_implementation("eager")  # sdpa does not show its maps
        try:
            contacts = self._model.predict_contacts(inputs.input_ids, inputs.attention_mask)
        finally:
            self._model.set_attn_implementation("sdpa")
        return np.asarray(contacts[0])

    @torch.no_grad()
    def scan(self, protein: str) -> Array:
        inputs = self._inputs([protein])
        rows = []
        for first in range(1, len(protein) + 1, _BATCH):
            positions = torch.arange(first, min(first + _BATCH, len(protein) + 1))
            sequences = torch.arange(len(positions))
            masked = inputs.input_ids.repeat(len(positions), 1)
            masked[sequences, positions] = self._tokenizer.mask_token_id
            attention_mask = inputs.attention_mask.expand_as(masked)
            logits = self._model(input_ids=masked, attention_mask=attention_mask).logits
            rows.append(logits[sequences, positions, AMINO_ACIDS].numpy())
        return np.concatenate(rows)

    def _batches(self, proteins: Sequence[str]) -> Iterator[list[int]]:
        order = list(range(len(proteins)))
        if self._sorted:
            order.sort(key=lambda i: len(proteins[i]))
        for first in range(0, len(order), _BATCH):
            yield order[first : first + _BATCH]

    def _inputs(self, proteins: list[str]) -> BatchEncoding:
        return self._tokenizer(proteins, padding=True, return_tensors="pt")


def _tokenizer() -> EsmTokenizer:
    """That of the hub repositories; a random checkpoint has no vocabulary beside it."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "vocab.txt"
        file.write_text("\n".join(TOKENS))
        return EsmTokenizer(str(file))


def load(checkpoint: Path, order: str) -> _HuggingFace:
    return _HuggingFace(checkpoint, order)
