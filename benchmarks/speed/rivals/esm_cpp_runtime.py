"""esm.cpp (PyPI: esm-cpp), float32 or int8: one sequence a call; scans by its scheduler of packs.

Hidden states come of one sequence a call alone. Its number of threads is its own choice: all cores.

int8 is its `quantize_weights` without calibration, which needs UniRef50 and changes no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import esm_cpp
import numpy as np

from benchmarks.speed.rivals.rival import AMINO_ACIDS, Array, CannotRun


class _EsmCpp:
    def __init__(self, model: esm_cpp.Model) -> None:
        self._model = model
        self._tokenizer = esm_cpp.Tokenizer()

    def embed(self, proteins: Sequence[str]) -> Array:
        return np.stack([self._hidden(protein)[1:-1].mean(0) for protein in proteins])

    def contacts(self, protein: str) -> Array:  # noqa: ARG002
        raise CannotRun("it gives no attention maps")

    def scan(self, protein: str) -> Array:
        tokens = self._tokens(protein)
        masked = [tokens.copy() for _ in protein]
        for residue, row in enumerate(masked):
            row[residue + 1] = self._tokenizer.mask_id
        logits = self._model.forward_scheduled(masked)
        return np.stack([own[residue + 1, AMINO_ACIDS] for residue, own in enumerate(logits)])

    def _hidden(self, protein: str) -> Array:
        _, hidden = self._model.forward_with_hidden_states(self._tokens(protein))
        return hidden[-1].reshape(-1, hidden[-1].shape[-1])

    def _tokens(self, protein: str) -> Array:
        return np.array(self._tokenizer.encode(protein, truncate=False), dtype=np.int32)


def load(checkpoint: Path, dtype: str) -> _EsmCpp:
    model = esm_cpp.Model.load_from_safetensors(str(checkpoint / "model.safetensors"))
    if dtype == "int8":
        model.quantize_weights()
    return _EsmCpp(model)
