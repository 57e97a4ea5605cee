"""Contacts without keeping a single attention map.

The published head is a logistic regression over the maps of all layers and heads, symmetrised and
APC-corrected (average product correction: subtract what row and column sums explain):

    S_h = A_h + A_h^T        r_h = row sums of S_h        s_h = sum of r_h
    logit = bias + sum_h w_h (S_h - r_h r_h^T / s_h)

It is linear in the corrected maps, so each map is added up when it is computed and then forgotten:

    M = sum_h w_h A_h             (L, L)
    C = sum_h (w_h / s_h) r_h r_h^T   (L, L)
    logit = bias + M + M^T - C

Memory is O(L^2) whatever the number of layers; fair-esm holds layers x heads x L^2, several times.

Source: ContactPredictionHead, symmetrize, apc in facebookresearch/esm, esm/modules.py; Rao et al.
2021, doi:10.1101/2020.12.15.422761. APC: Dunn et al. 2008, doi:10.1093/bioinformatics/btm604.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ContactHead:
    """The regression that came with the checkpoint.

    Attributes:
        weight: float32 (N, H), one coefficient for each layer and head.
        bias: float32 ().
    """

    weight: Tensor
    bias: Tensor


class ContactSum:
    """The contact logits of one sequence while its layers run."""

    def __init__(self, head: ContactHead, residues: int) -> None:
        self._head = head
        #: M - C / 2, without the bias: this and its transpose add up to the logits.
        self.half = head.weight.new_zeros(residues, residues)

    def add(self, layer: int, first_head: int, weights: Tensor) -> None:
        """Add a block of heads of one layer.

        Args:
            layer: 0-based index of the attention layer.
            first_head: head of weights[0].
            weights: attention after softmax, residues only, float32 (heads, L, L).
        """
        coefficients = self._head.weight[layer, first_head : first_head + len(weights)]
        for coefficient, map_ in zip(coefficients.tolist(), weights, strict=True):
            self.half.add_(map_, alpha=coefficient)
        sums = weights.sum(2) + weights.sum(1)
        scaled = sums * (0.5 * coefficients / sums.sum(1)).unsqueeze(1)
        # Not by a matrix product: where a BLAS fuses a product with its sum, and where it does not,
        # may depend on the number of threads.
        for left, right in zip(scaled, sums, strict=True):
            self.half.sub_(torch.outer(left, right))

    def probabilities(self) -> Tensor:
        """Contact probabilities, float32 (L, L), symmetric to the bit, once all layers were added.

        Not by torch's sigmoid on the CPU: what does not fill a vector register goes through
        another one, and where that is depends on the number of threads.
        """
        logits = (self.half + self.half.T).add_(self._head.bias)
        if logits.device.type != "cpu":
            return logits.sigmoid_()
        odds = logits.numpy()  # the same memory
        with np.errstate(over="ignore"):
            np.exp(np.negative(odds, out=odds), out=odds)
        odds += 1
        np.reciprocal(odds, out=odds)
        return logits
