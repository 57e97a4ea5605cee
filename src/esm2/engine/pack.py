"""Packing: many sequences laid end to end in one tensor, no padding.

    sequences   <cls> M K <eos>   <cls> M <eos>
    token_ids   [ 0  20 15  2       0  20  2 ]        (T,)  T = 7 tokens
    cu_seqlens  [ 0               4          7 ]      (B + 1,)
    positions   [ 0   1  2  3       0   1  2 ]        (T,)  restart at every BOS

Every tensor inside the engine has T as its first dimension. Only this module
knows where one sequence ends and the next begins; everything else asks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """B sequences of T tokens in all.

    Attributes:
        token_ids: int64 (T,), on the device.
        positions: int64 (T,), on the device.
        cu_seqlens: B + 1 ascending offsets, on the host.
    """

    token_ids: Tensor
    positions: Tensor
    cu_seqlens: tuple[int, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.lengths)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each sequence, BOS and EOS included."""
        return tuple(end - start for start, end in self._bounds())

    def spans(self) -> Iterator[slice]:
        """Where each sequence lies along T."""
        return (slice(start, end) for start, end in self._bounds())

    def offsets(self) -> Tensor:
        """`cu_seqlens` for a kernel: int64 (B + 1,), on the host."""
        return torch.tensor(self.cu_seqlens, dtype=torch.int64)

    def per_token(self, values: Tensor) -> Tensor:
        """Repeat one value a sequence for each of its tokens: (B,) -> (T,)."""
        repeats = torch.tensor(self.lengths, device=values.device)
        return values.repeat_interleave(repeats)

    def counts(self, flags: Tensor) -> Tensor:
        """Count set flags in each sequence: bool (T,) -> int64 (B,)."""
        before = F.pad(flags.cumsum(0), (1, 0))[list(self.cu_seqlens)]
        return before.diff()

    def _bounds(self) -> Iterator[tuple[int, int]]:
        return zip(self.cu_seqlens, self.cu_seqlens[1:], strict=False)


def pack(sequences: Sequence[NDArray[np.uint8]], device: torch.device) -> Pack:
    """Lay tokenized sequences end to end.

    Args:
        sequences: uint8 (L + 2,) each, at least one.
        device: where the tensors go.
    """
    lengths = [len(tokens) for tokens in sequences]
    token_ids = np.concatenate(sequences).astype(np.int64)
    positions = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    return Pack(
        token_ids=torch.from_numpy(token_ids).to(device),
        positions=torch.from_numpy(positions).to(device),
        cu_seqlens=tuple(int(offset) for offset in np.cumsum([0, *lengths])),
    )
