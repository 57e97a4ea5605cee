"""Attention within each sequence of a pack.

    q, k, v (T, H, head_dim)  ->  context (T, H * head_dim)

Two paths, chosen for each sequence by what it wants, never by its company: a fused kernel
(`scaled_dot_product_attention`), which never writes the attention map, and an explicit one that
shows the map to an observer, a few heads at a time, and forgets it. At 2048 residues the maps of
one layer of the 650M model are 340 MB; a block of them is at most `BLOCK_ELEMENTS` numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from esm2.budget import BLOCK_ELEMENTS
from esm2.engine.pack import Pack

#: Shown (first head, weights) of one layer: softmaxed attention, float32 (heads, L + 2, L + 2).
Observer = Callable[[int, Tensor], None]


KERNEL = "torch-sdpa"


def attend(
    q: Tensor, k: Tensor, v: Tensor, pack: Pack, observers: Sequence[Observer | None]
) -> Tensor:
    """Attention of one layer over a pack.

    Args:
        q: queries, already scaled by head_dim^-0.5 and turned, (T, H, head_dim).
        k: keys, turned, (T, H, head_dim).
        v: values, (T, H, head_dim).
        pack: where the sequences lie.
        observers: for each sequence who wants to see its attention maps, or None.

    Returns:
        (T, H * head_dim), heads side by side.
    """
    context = torch.empty_like(v)
    for span, observer in zip(pack.spans(), observers, strict=True):
        # (H, L + 2, head_dim) views of one sequence.
        query, key, value, out = (x[span].transpose(0, 1) for x in (q, k, v, context))
        if observer is None:
            # With a batch dimension of one: without it, the CPU kernel takes its slow path.
            fused = F.scaled_dot_product_attention(query[None], key[None], value[None], scale=1.0)
            out.copy_(fused[0])
        else:
            _observed(query, key, value, out, observer)
    return context.flatten(1)


def _observed(q: Tensor, k: Tensor, v: Tensor, out: Tensor, observer: Observer) -> None:
    """Attention of one sequence, (H, L + 2, head_dim) into `out`, a block of heads at a time."""
    heads, length, _ = q.shape
    step = max(1, BLOCK_ELEMENTS // length**2)
    for first in range(0, heads, step):
        block = slice(first, first + step)
        scores = q[block] @ k[block].transpose(1, 2)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
        out[block] = weights.to(v.dtype) @ v[block]
        observer(first, weights)
