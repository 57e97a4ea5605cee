"""This package, through its Python door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import esm2
from benchmarks.speed.rivals.rival import Array


class _Ours:
    def __init__(self, model: esm2.Model) -> None:
        self._model = model

    def embed(self, proteins: Sequence[str]) -> Array:
        embeddings: Any = self._model.embed(proteins)
        return embeddings

    def contacts(self, protein: str) -> Array:
        contacts = self._model.encode([protein], include=["contacts"])[0].contacts
        assert contacts is not None
        return contacts

    def scan(self, protein: str) -> Array:
        masked = [f"{protein[:i]}<mask>{protein[i + 1 :]}" for i in range(len(protein))]
        return np.concatenate(self._model.predict(masked, masks_only=True))


def load(checkpoint: Path, dtype: str) -> _Ours:
    return _Ours(esm2.load(checkpoint, dtype=dtype))
