"""Rotary position embedding: queries and keys are turned by an angle that grows with position.

    angle[t, i] = t * inv_freq[i]           i = 0 .. head_dim / 2 - 1
    (a, b) -> (a cos - b sin, b cos + a sin)   a, b = first and second half of a head

`inv_freq` is always the checkpoint's own: the official models were trained in float16 and their
files carry the rounded values. Computing it afresh moves logits of a 300-residue protein by 0.02.

Source: RotaryEmbedding in facebookresearch/esm, esm/rotary_embedding.py; Su et al. 2021,
arXiv:2104.09864.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """The rotation of each token of a pack.

    Attributes:
        cos, sin: float32 (T, 1, head_dim / 2), the same for every head.
    """

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Turn queries or keys: (T, H, head_dim) -> the same shape."""
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), dim=-1)


def turn(inv_freq: Tensor, positions: Tensor, longest: int) -> Turn:
    """The rotation for tokens at these positions.

    Args:
        inv_freq: float32 (head_dim / 2,), radians a token.
        positions: int64 (T,), each below `longest`.
        longest: tokens of the longest sequence; angles are computed once for each position.
    """
    steps = torch.arange(longest, device=inv_freq.device, dtype=inv_freq.dtype)
    angles = torch.outer(steps, inv_freq)
    return Turn(angles.cos()[positions].unsqueeze(1), angles.sin()[positions].unsqueeze(1))
