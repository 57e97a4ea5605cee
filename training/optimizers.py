"""One optimizer out of two, over float32 masters of a model that may compute in bfloat16.

gradients (of the model's dtype, summed in float32) -> Muon   matrices of the layers
                                                    -> AdamW  everything else
masters (float32) -> copied into the model
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.muon import Muon
from training.recipe import Recipe

_BETAS = (0.9, 0.98)


class Masters:
    """The weights as they are learned, and the state of their optimizers."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self._recipe = recipe
        self._working = dict(model.named_parameters())
        dtype = next(iter(self._working.values())).dtype
        self.weights = {name: p.detach().float().clone() for name, p in self._working.items()}
        matrices = [
            w for name, w in self.weights.items() if name.startswith("layers.") and w.ndim == 2
        ]
        others = [w for w in self.weights.values() if all(w is not m for m in matrices)]
        self._optimizers = (
            Muon(matrices, recipe.matrix_rate, recipe.weight_decay, dtype),
            torch.optim.AdamW(others, lr=recipe.other_rate, betas=_BETAS, weight_decay=0.0),
        )
        self._peaks = (recipe.matrix_rate, recipe.other_rate)
        # One stretch of memory, so that one message between processes carries all gradients.
        self.gradients = torch.zeros(sum(w.numel() for w in self.weights.values()))
        views = self.gradients.split([w.numel() for w in self.weights.values()])
        for weight, view in zip(self.weights.values(), views, strict=True):
            weight.grad = view.view_as(weight)
        self.publish()

    def collect(self) -> None:
        """Add the model's gradients to ours and clear them."""
        for name, parameter in self._working.items():
            gradient = self.weights[name].grad
            assert gradient is not None
            assert parameter.grad is not None
            gradient.add_(parameter.grad)
            parameter.grad = None

    def step(self, step: int) -> None:
        """Learn from the gradients collected, publish the new weights, forget the gradients."""
        for optimizer, peak in zip(self._optimizers, self._peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * self._recipe.rate(step)
            optimizer.step()
        self.gradients.zero_()
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the weights into the model, rounded to its dtype."""
        for name, parameter in self._working.items():
            parameter.copy_(self.weights[name])

    def state(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name, weight in self.weights.items():
            saved: Tensor = state["weights"][name]
            weight.copy_(saved)
        for optimizer, saved_state in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        self.publish()
