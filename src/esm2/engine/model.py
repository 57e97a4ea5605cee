"""ESM-2: the forward pass over a pack.

    token_ids -> embedding -> N x [ norm -> attention -> + -> norm -> feed-forward -> + ] -> norm
    layer        0             1 .. N-1: the residual stream, raw                             N

The numerics are fair-esm's (DESIGN: float32 is equal to fair-esm 2.0). Weights are plain tensors,
views of the mapped checkpoint; there is nothing to train here.

Source: ESM2 in facebookresearch/esm, esm/model/esm2.py; Lin et al. 2023,
doi:10.1126/science.ade2574.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from esm2.alphabet import MASK
from esm2.catalog import Shape
from esm2.engine.attention import Observer, attend
from esm2.engine.contacts import ContactHead
from esm2.engine.pack import Pack
from esm2.engine.rotary import Rotary, Turn

# Training masked 15 % of the tokens and replaced 80 % of those by <mask>: the embedding is scaled
# as if as many were masked at inference. Source: token_dropout in esm/model/esm2.py.
_TRAINING_MASK_RATIO = 0.15 * 0.8


class Product(Protocol):
    """A linear layer, however it is computed: (rows, K) -> (rows, N)."""

    @property
    def weight(self) -> Tensor: ...

    @property
    def bias(self) -> Tensor: ...

    def __call__(self, x: Tensor) -> Tensor: ...

    def gelu(self, x: Tensor) -> Tensor:
        """The same with the exact GELU behind."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """By torch, on the weights as the checkpoint has them."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """In the dtype of the weights."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        return F.gelu(self(x))


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One transformer layer. `rotary` is the index of its own in `ESM2.rotaries`."""

    attention_norm: Norm
    query: Product
    key: Product
    value: Product
    out: Product
    rotary: int
    ffn_norm: Norm
    up: Product
    down: Product

    def attention(
        self, x: Tensor, heads: int, pack: Pack, rotate: Turn, observers: Sequence[Observer | None]
    ) -> Tensor:
        x = self.attention_norm(x)
        q, k, v = (f(x).view(len(x), heads, -1) for f in (self.query, self.key, self.value))
        scale = q.shape[-1] ** -0.5
        q, k = rotate(q * scale).to(v.dtype), rotate(k).to(v.dtype)
        return self.out(attend(q, k, v, pack, observers))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.down(self.up.gelu(self.ffn_norm(x)))

    def computed_by(self, made: Callable[[Product], Product]) -> Block:
        """The same with other linear layers; norms stay as they are."""
        return replace(
            self,
            query=made(self.query),
            key=made(self.key),
            value=made(self.value),
            out=made(self.out),
            up=made(self.up),
            down=made(self.down),
        )


@dataclass(frozen=True, slots=True, eq=False)
class LanguageHead:
    """Hidden states of the last layer to logits over the 33 tokens."""

    dense: Product
    norm: Norm
    output: Product

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, D) -> (rows, 33)."""
        return self.output(self.norm(self.dense.gelu(x)))


#: Hidden states of the last layer (rows, D) to logits (rows, 33).
Head = Callable[[Tensor], Tensor]

#: For one attention layer (0-based): who watches each sequence's maps.
Watch = Callable[[int], Sequence[Observer | None]]


@dataclass(frozen=True, slots=True, eq=False)
class ESM2:
    """A checkpoint in memory.

    Attributes:
        embedding: float32 (33, D).
        token_dropout: whether embeddings are scaled by the share of masks.
        blocks: N layers.
        rotaries: the distinct ones of the layers; mostly one.
        language_head, contact_head: None when the checkpoint came without.
    """

    shape: Shape
    embedding: Tensor
    token_dropout: bool
    blocks: tuple[Block, ...]
    rotaries: tuple[Rotary, ...]
    final_norm: Norm
    language_head: LanguageHead | None
    contact_head: ContactHead | None

    def forward(
        self, pack: Pack, keep: Collection[int], depth: int, watch: Watch
    ) -> dict[int, Tensor]:
        """Run the first `depth` layers.

        Args:
            pack: the sequences.
            keep: the layers 0..depth whose hidden states are wanted.
            depth: how many layers to run, 0..N.
            watch: asked once for each layer who wants to see attention maps.

        Returns:
            layer -> float32 (T, D).
        """
        x = self._embed(pack)
        kept = {0: x} if 0 in keep else {}
        turns = [rotary.turn(pack.positions, pack.longest) for rotary in self.rotaries]
        for index, block in enumerate(self.blocks[:depth]):
            rotate = turns[block.rotary]
            x = x + block.attention(x, self.shape.heads, pack, rotate, watch(index))
            x = x + block.feed_forward(x)
            layer = index + 1
            if layer == self.shape.layers:
                x = self.final_norm(x)
            if layer in keep:
                kept[layer] = x
        return kept

    def _embed(self, pack: Pack) -> Tensor:
        x = F.embedding(pack.token_ids, self.embedding)
        if not self.token_dropout:
            return x
        masked = pack.token_ids == MASK
        x = x.masked_fill(masked.unsqueeze(1), 0.0)
        return x * pack.per_token(embedding_scale(pack)).unsqueeze(1)


def embedding_scale(pack: Pack) -> Tensor:
    """What token dropout multiplies each sequence's embeddings by, float32 (B,)."""
    lengths = torch.tensor(pack.lengths, device=pack.token_ids.device)
    observed = pack.counts(pack.token_ids == MASK).to(torch.float32) / lengths
    return (1 - _TRAINING_MASK_RATIO) / (1 - observed)
