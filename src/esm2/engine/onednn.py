"""Linear layers by oneDNN, on weights that it has laid out for itself: torch's own on the CPU.

    (rows, K)  ->  filled up to a multiple of 32 rows  ->  one primitive  ->  (rows, N)

`F.linear` gives a row other bits when other rows come or go; these products give each row the same
bits whatever the number of rows, from two up. Filling up keeps a single row away, and bounds the
number of primitives that oneDNN makes and keeps, one for each number of rows that it meets.

The operators are torch's own, and private (inductor uses them): they are looked for, and have to
give the right answer, before they are used.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL = "torch-onednn"

_ROWS = 32


@dataclass(frozen=True, slots=True, eq=False)
class PrepackedLinear:
    """A linear layer in oneDNN's layout, float32.

    Attributes:
        weight: opaque; (N, K) for oneDNN alone.
        bias: (N,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, K) -> (rows, N)."""
        return self._product(x, "none")

    def gelu(self, x: Tensor) -> Tensor:
        """(rows, K) -> (rows, N), with the exact GELU behind."""
        return self._product(x, "gelu")

    def _product(self, x: Tensor, then: str) -> Tensor:
        rows = len(x)
        filled = F.pad(x, (0, 0, 0, -rows % _ROWS))
        return _linear(filled, self.weight, self.bias, then)[:rows]


def prepacked(weight: Tensor, bias: Tensor) -> PrepackedLinear:
    """Lay out a weight (N, K); it is copied."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
    return PrepackedLinear(packed, bias.clone())


@functools.cache
def available() -> bool:
    """Whether this build of torch has the operators, and they compute what they should."""
    if not torch._C._has_mkldnn:
        return False
    whole = torch.arange(-3, 3, dtype=torch.float32)
    weight = whole.repeat(4, 1) + torch.arange(4)[:, None]
    x, bias = whole.repeat(3, 1) * torch.tensor([[0.0], [1.0], [2.0]]), torch.arange(4.0)
    try:
        with torch.inference_mode():
            layer = prepacked(weight, bias)
            got, bent = layer(x), layer.gelu(x / 8)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    expected = F.gelu(F.linear(x / 8, weight, bias))
    # Sums of small whole numbers are exact in any order.
    return torch.equal(got, F.linear(x, weight, bias)) and torch.allclose(bent, expected, atol=1e-5)


def _linear(x: Tensor, weight: Tensor, bias: Tensor, then: str) -> Tensor:
    algorithm = "none" if then == "gelu" else ""  # of GELU: the exact one
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], algorithm)
    return product
