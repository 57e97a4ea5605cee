"""Rotary position embedding: queries and keys are turned by an angle that grows with position.

    angle[t, i] = t * inv_freq[i]           i = 0 .. head_dim / 2 - 1
    (a, b) -> (a cos - b sin, b cos + a sin)   a, b = first and second half of a head

`inv_freq` is always the checkpoint's own: the official models were trained in float16 and their
files carry the rounded values. Computing it afresh moves logits of a 300-residue protein by 0.02.

Source: RotaryEmbedding in facebookresearch/esm, esm/rotary_embedding.py; Su et al. 2021,
arXiv:2104.09864.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Positions are computed so many at a time: a position's angle is then the same arithmetic whatever
# the longest sequence of a pack, on every vector width.
_BLOCK = 512


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


class Rotary:
    """One set of frequencies, and the cosines and sines of every position met so far.

    They are numpy's, of float32 angles, in float64, then rounded. torch asks MKL, which on Intel's
    CPUs may answer the first call of a process, when several threads make it, with cosines that
    are off by 1.5e-4 for one thread's share of positions: torch 2.13.0, one process in twelve.

    Args:
        inv_freq: float32 (head_dim / 2,), radians a token; copied.
    """

    def __init__(self, inv_freq: Tensor) -> None:
        self.inv_freq = inv_freq.clone()
        none = self.inv_freq.new_empty(0, len(inv_freq))
        self._tables = none, none
        self._growing = threading.Lock()

    def tables(self, longest: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of `longest` positions at least, each float32 (P, head_dim / 2).

        May be called from several threads: a pass may go ahead of another.
        """
        with self._growing:
            cos, sin = self._tables
            while len(cos) < longest:
                steps = np.arange(len(cos), len(cos) + _BLOCK, dtype=np.float32)
                angles = np.outer(steps, self.inv_freq.cpu().numpy()).astype(np.float64)
                cos = torch.cat((cos, self._rounded(np.cos(angles))))
                sin = torch.cat((sin, self._rounded(np.sin(angles))))
            self._tables = cos, sin
        return cos, sin

    def _rounded(self, numbers: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(numbers.astype(np.float32)).to(self.inv_freq.device)

    def turn(self, positions: Tensor, longest: int) -> Turn:
        """The rotation for tokens at these positions.

        Args:
            positions: int64 (T,), each below `longest`.
            longest: tokens of the longest sequence.
        """
        cos, sin = self.tables(longest)
        return Turn(cos[positions].unsqueeze(1), sin[positions].unsqueeze(1))
