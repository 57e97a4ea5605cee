"""Scores of sequences, from logits. Pure numpy; every formula names its origin.

log_prob   sum over residues of log p(residue | the whole, unmasked sequence)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esm2.alphabet import AMINO_ACID_COLUMNS, residue_tokens


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

    Source: BioLM/biolm-hub at c79c489, models/esm2/app.py (log_prob).
    """
    columns = logits[:, AMINO_ACID_COLUMNS].astype(np.float64)
    columns -= columns.max(axis=1, keepdims=True)
    log_probabilities = columns - np.log(np.exp(columns).sum(axis=1, keepdims=True))
    residues = residue_tokens(tokens).astype(np.int64) - AMINO_ACID_COLUMNS.start
    natural = np.flatnonzero((residues >= 0) & (residues < columns.shape[1]))
    return float(log_probabilities[natural, residues[natural]].sum())
