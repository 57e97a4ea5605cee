"""Scores of sequences, from logits. Pure numpy; every formula names its origin.

    log_prob              sum over residues of log p(residue | the whole, unmasked sequence)
    log_softmax           log p of all 33 tokens: what marginals and pseudo-log-likelihood read
    pseudo_perplexity     exp(-PLL / L)
    entropy, conservation of the 20 amino acids at each position
    guesses               the most probable amino acids at masks
    spearman              rank correlation with a measurement

Which passes these need, and in which order: `marginals.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from esm2.alphabet import AMINO_ACID_COLUMNS, AMINO_ACIDS, MASK, TOKENS, residue_tokens
from esm2.arguments import whole

Double = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Guess:
    """An amino acid that may stand at a mask.

    Attributes:
        position: of the mask, 1..L.
        residue: one letter.
        probability: among the 20 natural amino acids.
    """

    position: int
    residue: str
    probability: float


def log_prob(logits: NDArray[np.floating[Any]], tokens: NDArray[np.uint8]) -> float:
    """The approximate log-probability of a sequence: one pass, nothing masked.

    p is a softmax over the 20 natural amino acids. Residues that are none of them have no
    probability and are left out of the sum. It is not the pseudo-log-likelihood, which masks each
    residue in turn: the model sees what it scores, so the sum is nearer to 0.

    Args:
        logits: floating point (L, 33) of the unmasked sequence.
        tokens: uint8 (L + 2,).

    Returns:
        natural logarithm, at most 0; computed in float64.

    Raises:
        ValueError: the logits are not all 33 tokens' of all residues of that sequence; those of
            `encode` and `predict` are the 20 amino acids'.

    Source: BioLM/biolm-hub at c79c489, models/esm2/app.py (log_prob).
    """
    check_33(logits, "logits", len(residue_tokens(tokens)))
    log_probabilities = log_softmax(logits[:, AMINO_ACID_COLUMNS])
    residues = residue_tokens(tokens).astype(np.int64) - AMINO_ACID_COLUMNS.start
    natural = np.flatnonzero((residues >= 0) & (residues < len(AMINO_ACIDS)))
    return float(log_probabilities[natural, residues[natural]].sum())


def log_softmax(logits: NDArray[np.floating[Any]]) -> Double:
    """Natural logarithms of probabilities, over the last axis; float64, finite for any logits."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    log_probabilities: Double = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probabilities


@overload
def pseudo_perplexity(pll: float, residues: int) -> float: ...
@overload
def pseudo_perplexity(pll: Double, residues: Iterable[int]) -> Double: ...
def pseudo_perplexity(pll: float | Double, residues: int | Iterable[int]) -> float | Double:
    """exp(-PLL / L): 1 where every residue was certain, 33 where nothing was known.

    Args:
        pll: pseudo-log-likelihood of a sequence, in nats; or of n, (n,), as `pll` gives them.
        residues: its residues L; or those of each, as map(len, sequences).

    Returns:
        a float; or float64 (n,).

    Raises:
        ValueError: there are not as many of the one as of the other.

    Source: Salazar et al. 2020, Masked Language Model Scoring, with residues for words.
    """
    values = np.atleast_1d(pll)
    lengths = list(residues) if isinstance(residues, Iterable) else [residues]
    if len(values) != len(lengths):
        raise ValueError(f"pll has {len(values)} and residues {len(lengths)}; give as many of each")
    each = [math.exp(-own / length) for own, length in zip(values, lengths, strict=True)]
    return np.array(each) if isinstance(residues, Iterable) else each[0]


def entropy(log_probabilities: Double) -> Double:
    """Entropy of the 20 natural amino acids at each position, in nats: 0..ln 20.

    Args:
        log_probabilities: float64 (L, 33); the other 13 tokens are left out and the rest
            normalised anew.

    Returns:
        float64 (L,).

    Raises:
        ValueError: it is not (L, 33).
    """
    check_33(log_probabilities, "log_probabilities")
    logs = log_softmax(log_probabilities[:, AMINO_ACID_COLUMNS])
    summed: Double = -(np.exp(logs) * logs).sum(axis=1)
    return summed


def conservation(log_probabilities: Double) -> Double:
    """1 - entropy / ln 20 at each position: 1 where one amino acid is certain, 0 where any may be.

    Args, Returns, Raises: as `entropy`.
    """
    relative: Double = 1 - entropy(log_probabilities) / math.log(len(AMINO_ACIDS))
    return relative


def spearman(one: Double, other: Double) -> float:
    """Spearman's rank correlation, equal numbers having their mean rank.

    Args:
        one, other: float64 (n,), finite.

    Returns:
        -1..1; NaN where it is not defined: n < 2, or all numbers of a side are equal.
    """
    ranks = np.stack([_ranks(one), _ranks(other)])
    ranks -= ranks.mean(axis=1, keepdims=True) if ranks.size else 0.0
    spread = math.sqrt(float((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / spread if spread else math.nan


def guesses(
    logits: NDArray[np.floating[Any]], tokens: NDArray[np.uint8], top_k: int
) -> list[list[Guess]]:
    """The most probable amino acids at each mask of a sequence.

    Args:
        logits: (masks, 20) of the masked residues, columns `alphabet.AMINO_ACIDS`.
        tokens: uint8 (L + 2,).
        top_k: guesses for each mask, 1..20.

    Returns:
        the guesses of each mask, in order, the most probable first.
    """
    places = np.flatnonzero(residue_tokens(tokens) == MASK)
    probabilities = np.exp(log_softmax(logits))
    found = []
    for place, row in zip(places, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:top_k]
        found.append([Guess(int(place) + 1, AMINO_ACIDS[i], float(row[i])) for i in best])
    return found


def check_top_k(top_k: SupportsIndex) -> None:
    """
    Raises:
        TypeError: it is no whole number.
        ValueError: it is not 1..20.
    """
    if not 1 <= whole(top_k, "top_k") <= len(AMINO_ACIDS):
        raise ValueError(f"top_k is {top_k}; there are {len(AMINO_ACIDS)} amino acids")


def check_33(array: NDArray[Any], name: str, residues: int | None = None) -> None:
    """Refuse what is not (L, 33): columns of the 20 amino acids would give a plausible number.

    Args:
        residues: L, where it is known.

    Raises:
        ValueError: it says which shape it has and which is wanted.
    """
    rows = "L" if residues is None else residues
    fits = array.ndim == 2 and array.shape[1] == len(TOKENS)
    if not fits or residues not in (None, len(array)):
        advice = ""
        if array.ndim == 2 and array.shape[1] == len(AMINO_ACIDS):
            advice = (
                "; these are of the 20 amino acids, as encode, logits and predict give them: use"
                " the log_prob, scan or pll of the model"
            )
        raise ValueError(
            f"{name} has shape {array.shape}, and ({rows}, {len(TOKENS)}) is wanted, a column for"
            f" each of the {len(TOKENS)} tokens{advice}"
        )


def _ranks(values: Double) -> Double:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: Double = np.cumsum(counts) - (counts - 1) / 2
    return mean_ranks[which]
