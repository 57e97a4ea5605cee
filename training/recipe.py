"""What is trained, on how much, how fast: every number of the run that made esm2-demo.

learning rate   /‾‾‾‾‾‾‾‾‾‾‾‾\\            warm-up, plateau, straight down to zero
crop (tokens)   128    256     1024      short windows first: three times as many a second
"""

from __future__ import annotations

from dataclasses import dataclass

from esm2.catalog import Shape


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run.

    Attributes:
        steps: optimizer steps in all.
        batches: micro-batches of one step; the processes share them.
        batch_tokens: tokens of a micro-batch, at most.
        matrix_rate, other_rate: peak learning rates of Muon (matrices of the layers, in AdamW's
            units) and of AdamW (embedding, biases, norms).
        warmup: steps until the peak.
        decay: share of the steps in which the rate falls to zero.
        crops: (share of the steps after which it begins, longest window in tokens).
    """

    shape: Shape
    steps: int
    seed: int = 0
    batches: int = 8
    batch_tokens: int = 4096
    matrix_rate: float = 3e-3
    other_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup: int = 100
    decay: float = 0.4
    crops: tuple[tuple[float, int], ...] = ((0.0, 128), (0.1, 256), (0.5, 512), (0.8, 1024))

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at a step, counted from 0."""
        rise = (step + 1) / self.warmup
        fall = (self.steps - step) / (self.decay * self.steps)
        return min(1.0, rise, fall)

    def crop(self, step: int) -> int:
        """The longest window at a step."""
        return max(crop for begin, crop in self.crops if step >= begin * self.steps)


DEMO = Recipe(Shape(layers=6, dim=192, heads=6), steps=4400)
