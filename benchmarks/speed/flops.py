"""Floating-point operations of a workload, counted exactly; a multiplication and an addition are 2.

    24 d² N       a token's matrix products: 8 d² of attention, 16 d² of feed-forward, N layers
    4 L d N       a token's attention over the L tokens of its own sequence
    2 d² + 66 d   a token's logits, where logits are asked for

Padding is not counted, so it shows as waste. A scan counts every token of its 286 passes, logits
included, although only the masked token's are wanted: an engine that skips what nobody asked for
shows a share of the peak above what it computed, as it should.
"""

from __future__ import annotations

from benchmarks.speed.workloads import Workload
from esm2.catalog import Shape


def flops(workload: Workload, shape: Shape) -> int:
    """The operations of one call of the workload."""
    head = 2 * shape.dim**2 + 2 * 33 * shape.dim if workload.output == "scan" else 0
    return sum(tokens * (_trunk(shape, tokens) + head) for tokens in workload.passes)


def _trunk(shape: Shape, tokens: int) -> int:
    return 24 * shape.dim**2 * shape.layers + 4 * tokens * shape.dim * shape.layers
