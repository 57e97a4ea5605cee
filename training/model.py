"""ESM-2 as a module that learns; the engine's own model holds plain tensors and has no gradients.

    tokens (B, W) -> embedding -> N x [ norm -> attention -> + -> norm -> feed-forward -> + ]
    the picked positions alone -> norm -> language head -> logits (P, 33)

All rows of a batch are equally long (`training/proteins.py` sees to it), so there is no padding and
no attention mask. Parameters bear the engine's names (`esm2/engine/names.py`), so that exporting is
renaming. Numerics are those of `esm2/engine/model.py`; `tests/training` holds the two together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esm2.alphabet import MASK, TOKENS
from esm2.catalog import Shape

EPS = 1e-5
# Source: token_dropout in facebookresearch/esm, esm/model/esm2.py.
_TRAINING_MASK_RATIO = 0.15 * 0.8


def inv_freq(shape: Shape) -> Tensor:
    """Rotary frequencies rounded to float16, as the official files carry them: (head_dim / 2,)."""
    steps = torch.arange(0, shape.head_dim, 2) / shape.head_dim
    return (10000.0**-steps).half().float()


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim = shape.dim
        self.shape = shape
        self.attention_norm = nn.LayerNorm(dim, eps=EPS)
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.ffn_norm = nn.LayerNorm(dim, eps=EPS)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, W, D) -> the same; cos and sin (W, 1, head_dim / 2)."""
        x = x + self.out(self._attention(self.attention_norm(x), cos, sin))
        return x + self.down(F.gelu(self.up(self.ffn_norm(x))))

    def _attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, width, dim = x.shape
        heads, head_dim = self.shape.heads, self.shape.head_dim
        parts = (self.query, self.key, self.value)
        # One product instead of three, and one rotation for queries and keys: a fifth of the time.
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        qkv = F.linear(x, weight, bias).view(rows, width, 3 * heads, head_dim)
        a, b = qkv[:, :, : 2 * heads].chunk(2, dim=-1)
        turned = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).transpose(1, 2)
        q, k, v = turned[:, :heads], turned[:, heads:], qkv[:, :, 2 * heads :].transpose(1, 2)
        # Written out: torch's fused CPU kernel takes three times as long, forward and backward.
        weights = torch.softmax((q * head_dim**-0.5) @ k.transpose(2, 3), dim=-1)
        return (weights @ v).transpose(1, 2).reshape(rows, width, dim)


class LanguageHead(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(len(TOKENS)))


class Learner(nn.Module):
    """An ESM-2 of any shape, its output matrix tied to the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.empty(len(TOKENS), shape.dim))
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.final_norm = nn.LayerNorm(shape.dim, eps=EPS)
        self.head = LanguageHead(shape.dim)
        self.register_buffer("inv_freq", inv_freq(shape), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Blocks begin as the identity: what they add to the residual stream is zero."""
        nn.init.normal_(self.embedding, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.5 * module.in_features**-0.5)
                nn.init.zeros_(module.bias)
        for block in self.layers:
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.down.weight)

    def forward(self, tokens: Tensor, picked: Tensor) -> Tensor:
        """Logits at some positions.

        Args:
            tokens: int64 (B, W), BOS and EOS where a window holds them.
            picked: int64 (P,), indices into the flattened tokens.

        Returns:
            float32 (P, 33).
        """
        x = F.embedding(tokens, self.embedding)
        masked = tokens == MASK
        scale = (1 - _TRAINING_MASK_RATIO) / (1 - masked.float().mean(dim=1))
        x = x.masked_fill(masked[..., None], 0.0) * scale[:, None, None].to(x.dtype)
        angles = torch.outer(torch.arange(tokens.shape[1]).float(), self.inv_freq.float())[:, None]
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for block in self.layers:
            x = block(x, cos, sin)
        x = self.final_norm(x.flatten(0, 1)[picked])
        x = self.head.norm(F.gelu(self.head.dense(x)))
        return F.linear(x, self.embedding, self.head.bias).float()
