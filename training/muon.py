"""Muon: an update of a matrix whose singular values are all about 1, so that no direction waits.

    gradient -> momentum (Nesterov) -> five steps of Newton and Schulz -> update

torch.optim.Muon, with the dtype of Newton-Schulz to be chosen: torch computes it in bfloat16, which
takes five times as long as float32 where the processor cannot multiply it. A state of the one is a
state of the other.

Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; learning rates in AdamW's units as
in Liu et al. 2025, arXiv:2502.16982.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MOMENTUM = 0.95
# Of the polynomial whose slope at zero is as large as it can be.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """For matrices (rows, columns), float32.

    Args:
        lr: in AdamW's units.
        dtype: of the products of Newton-Schulz.
    """

    def __init__(
        self, matrices: list[Tensor], lr: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - _MOMENTUM)
                update = orthogonal(matrix.grad.lerp(momentum, _MOMENTUM), self._dtype)
                rate = group["lr"] * 0.2 * max(matrix.shape) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest matrix of singular values near 1 (0.7 to 1.2), in that dtype."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(dtype, copy=True)
    x = x.T if tall else x
    x.div_(x.norm().clamp(min=1e-7))
    for _ in range(_STEPS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=_B, alpha=_C), x, beta=_A)
    return x.T if tall else x
