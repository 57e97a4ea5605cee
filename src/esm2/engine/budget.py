"""What a request costs: one currency for batching, one memory model for refusing.

Cost is counted in tokens. A token of a pack holds about 10 D numbers at the widest place of a layer
(the feed-forward activation of 4 D, its input, queries, keys, values, residual stream); an
attention map that has to be written out holds H (L + 2)^2. So

    cost = (L + 2) + [contacts or attentions] H (L + 2)^2 / (10 D)
"""

from __future__ import annotations

from dataclasses import dataclass

from esm2.catalog import Shape
from esm2.engine.attention import BLOCK_ELEMENTS
from esm2.types import ForwardRequest, Want

_NUMBERS_PER_TOKEN = 10  # in units of D
_PEAK_NUMBERS_PER_TOKEN = 26  # in units of D, measured
_FLOAT = 4  # bytes


def cost(request: ForwardRequest, shape: Shape) -> int:
    """What a request adds to a pack, in tokens."""
    tokens = len(request.tokens)
    if not request.want.needs_attention_weights:
        return tokens
    return tokens + shape.heads * tokens**2 // (_NUMBERS_PER_TOKEN * shape.dim)


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Peak bytes of one sequence, beyond the weights.

    Fitted to err on the high side of what a process takes on the CPU, allocator included:
    benchmarks/memory_model.py has both numbers. On CUDA it has not been measured.
    """

    shape: Shape

    def peak(self, want: Want, residues: int) -> int:
        """Bytes that the forward pass and its outputs need at their peak."""
        tokens = residues + 2
        numbers = tokens * self.shape.dim * (_PEAK_NUMBERS_PER_TOKEN + len(want.layers))
        if want.per_token:
            numbers += tokens * self.shape.dim * len(want.layers)
        if want.needs_attention_weights:
            # Scores, their softmax, the block before it that is not free yet, and copies.
            block = max(BLOCK_ELEMENTS, tokens**2)
            numbers += 5 * min(block, self.shape.heads * tokens**2)
        if want.contacts:
            numbers += 6 * residues**2
        return _FLOAT * numbers

    def longest(self, want: Want, available: int, ceiling: int) -> int:
        """The most residues of which this fits into `available` bytes, at most `ceiling`."""
        low, high = 0, ceiling
        while low < high:
            middle = (low + high + 1) // 2
            if self.peak(want, middle) <= available:
                low = middle
            else:
                high = middle - 1
        return low
