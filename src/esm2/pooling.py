"""Pooling: one vector of the rows of a protein's residues.

    h_i     row of residue i at one layer, (D,)
    R       the residues that are read: all L of them, or those of a region

    mean    (1 / |R|) * the sum of h_i over i in R, in float64
    max     for each of the D numbers by itself, the largest of h_i over i in R
    min     the smallest

The model sees the whole protein whatever is read of it, so the rows of a region are those that they
are in its protein. BOS and EOS are never in R. The engine makes the mean of all residues itself;
everything else is made here, of `per_token`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from esm2.types import BY_LAYER, WHOLE, Float, Outputs, Want

Reduction = Literal["mean", "max", "min"]

#: What can be kept of a protein for each layer: what a model gives, and what is made of that.
KINDS: tuple[str, ...] = (*BY_LAYER, "max", "min")


@dataclass(frozen=True, slots=True)
class Region:
    """Some residues of a protein.

    Attributes:
        spans: first and last residue of each part, 1-based, both included. Parts may overlap:
            each residue is read once.
    """

    spans: tuple[tuple[int, int], ...]

    @property
    def last(self) -> int:
        """The last residue of it, 1-based."""
        return max(stop for _, stop in self.spans)

    @property
    def rows(self) -> NDArray[np.intp]:
        """Its rows of `per_token`, ascending."""
        return np.unique(np.concatenate([np.arange(start - 1, stop) for start, stop in self.spans]))

    def __str__(self) -> str:
        return ",".join(f"{start}-{stop}" for start, stop in self.spans)


@dataclass(frozen=True, slots=True, eq=False)
class Pooled(Outputs):
    """Outputs, and what was made of them.

    Attributes:
        max, min: layer -> (D,).
    """

    max: dict[int, Float] = field(default_factory=dict)
    min: dict[int, Float] = field(default_factory=dict)


def pool(rows: Float, how: Reduction) -> Float:
    """One row of several, (n, D) -> (D,)."""
    if how == "mean":
        mean: Float = np.add.reduce(rows, axis=0, dtype=np.float64) / len(rows)
        return mean.astype(np.float32)
    extreme: Float = rows.max(axis=0) if how == "max" else rows.min(axis=0)
    return extreme


def asked(kinds: Sequence[str], layers: tuple[int, ...], *, regional: bool) -> Want:
    """What a model has to give so that `read` can make these kinds.

    Args:
        kinds: any of KINDS, and other outputs of a model, which stay as they are.
        regional: they are of regions; then there is no bos among them.
    """
    made = {"max", "min", *(["mean"] if regional else [])} & set(kinds)
    needed = set(kinds) - made | ({"per_token"} if made else set())
    return Want.of(needed, layers)


def read(outputs: Outputs, kinds: Sequence[str], region: Region | None) -> Pooled:
    """The kinds that are kept of a protein.

    Args:
        outputs: as `asked`.
        region: that they are of; None is all of it.
    """
    rows = outputs.per_token
    if region is not None:
        places = region.rows
        rows = {layer: own[places] for layer, own in rows.items()}

    def made(how: Reduction) -> dict[int, Float]:
        return {layer: pool(own, how) for layer, own in rows.items()} if how in kinds else {}

    return Pooled(
        mean=outputs.mean if region is None else made("mean"),
        per_token=rows if "per_token" in kinds else {},
        bos=outputs.bos,
        max=made("max"),
        min=made("min"),
        **{kind: getattr(outputs, kind) for kind in WHOLE},
    )
