"""The contact head: a sparse logistic regression on attention maps, fitted and tested.

    structure -> which pairs of residues touch      C-beta closer than 8 Angstrom
    sequence  -> APC(A + A^T) of every layer and head, from the engine
    pairs at least 6 residues apart, of half of the structures -> one weight a head, most of them 0
    the other half -> P@L: of the L most probable pairs at least 24 apart, the share that touch

Source: Rao et al. 2021, doi:10.1101/2020.12.15.422761 (20 structures, L1, C 0.15, scikit-learn's
liblinear); ContactPredictionHead in facebookresearch/esm, esm/modules.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from esm2.alphabet import tokenize
from esm2.engine.attention import Observer
from esm2.engine.model import ESM2
from esm2.engine.pack import pack
from esm2.engine.weights import load_checkpoint

FIT_SEPARATION = 6
LONG_RANGE = 24
_CPU = torch.device("cpu")
_C = 0.15  # inverse strength of the L1 penalty


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One chain.

    Attributes:
        contacts: bool (L, L), symmetric.
    """

    name: str
    sequence: str
    contacts: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """A contact head.

    Attributes:
        weight: float32 (N * H,), layer after layer.
        bias: in logits.
    """

    weight: NDArray[np.float32]
    bias: float


def read_structures(directory: Path) -> tuple[list[Structure], list[Structure]]:
    """The two halves: those to fit on, those to test on (every other one, by name)."""
    structures = []
    for file in sorted(directory.glob("*.npz")):
        with np.load(file) as arrays:
            sequence, packed = str(arrays["sequence"]), arrays["contacts"]
        rows, columns = np.triu_indices(len(sequence), 1)
        contacts = np.zeros((len(sequence),) * 2, dtype=bool)
        contacts[rows, columns] = np.unpackbits(packed, count=len(rows))
        structures.append(Structure(file.stem, sequence, contacts | contacts.T))
    return structures[::2], structures[1::2]


@torch.inference_mode()
def attention_maps(model: ESM2, sequence: str) -> NDArray[np.float32]:
    """Symmetrised and APC-corrected attention: float32 (N * H, L, L), residues only."""
    packed = pack([tokenize(sequence)], _CPU)
    maps: list[Tensor] = []

    def see(_: int, weights: Tensor) -> None:
        residues = weights[:, 1:-1, 1:-1]
        both = residues + residues.transpose(1, 2)
        sums = both.sum(2)
        expected = sums[:, :, None] * sums[:, None, :] / sums.sum(1)[:, None, None]
        maps.append(both - expected)

    def watch(_: int) -> Sequence[Observer]:
        return [see]

    model.forward(packed, (), model.shape.layers, watch)
    return torch.cat(maps).numpy()


def fit(checkpoint: Path, structures: Sequence[Structure]) -> Regression:
    """Fit the head of a checkpoint that has none yet."""
    model = load_checkpoint(checkpoint, _CPU).model
    features, touching = [], []
    for structure in structures:
        pairs = np.triu_indices(len(structure.sequence), FIT_SEPARATION)
        features.append(attention_maps(model, structure.sequence)[:, *pairs].T)
        touching.append(structure.contacts[pairs])
    regression = LogisticRegression(l1_ratio=1, C=_C, solver="liblinear", random_state=0)
    regression.fit(np.concatenate(features), np.concatenate(touching))
    return Regression(regression.coef_[0].astype(np.float32), float(regression.intercept_[0]))


def precision(
    probabilities: NDArray[np.float32], contacts: NDArray[np.bool_], separation: int = LONG_RANGE
) -> tuple[float, float]:
    """Precision of the L most probable pairs of a chain, and of pairs drawn at random.

    Args:
        probabilities: (L, L), symmetric.
        contacts: (L, L), symmetric.
        separation: how far apart along the chain a pair must be.

    Returns:
        P@L, and the share of contacts among all such pairs.
    """
    pairs = np.triu_indices(len(contacts), separation)
    order = np.argsort(-probabilities[pairs], kind="stable")[: len(contacts)]
    return float(contacts[pairs][order].mean()), float(contacts[pairs].mean())
