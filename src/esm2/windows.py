"""Windows: a protein that is too long for one pass, seen in overlapping pieces of equal size.

    residues   0 ........................................ L
    window 0   |=========keep=========|..|
    window 1             |...|=======keep=======|...|
    window 2                         |..|=========keep=====|      every residue is kept once

A residue is read in the window in which it stands furthest from an edge, so with an overlap of
half a window it always has at least a quarter of a window of context on either side, or the end
of the protein.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from esm2.pooling import pool
from esm2.types import Float, Outputs


@dataclass(frozen=True, slots=True)
class Window:
    """One piece, in residues of the protein, 0-based and half-open.

    Attributes:
        start, stop: what the model sees.
        first, last: the residues that are read here.
    """

    start: int
    stop: int
    first: int
    last: int


def windows(residues: int, size: int) -> list[Window]:
    """Windows of `size` residues that overlap by at least half, spread evenly over a protein.

    Args:
        residues: L, more than `size`.
        size: at least 2.
    """
    overlap = size // 2
    count = -(-(residues - overlap) // (size - overlap))
    starts = [round(i * (residues - size) / (count - 1)) for i in range(count)]
    # Halfway through what two neighbours share.
    cuts = [(start + before + size) // 2 for before, start in pairwise(starts)]
    edges = [0, *cuts, residues]
    return [Window(start, start + size, *edges[i : i + 2]) for i, start in enumerate(starts)]


def joined(pieces: Sequence[tuple[Window, Outputs]], *, mean: bool, per_token: bool) -> Outputs:
    """The embeddings of a whole protein from those of its windows.

    Args:
        pieces: windows in order, each with its `per_token` embeddings.
        mean, per_token: which to give; mean is over all residues of the protein.
    """
    rows: dict[int, Float] = {}
    for layer in pieces[0][1].per_token:
        rows[layer] = np.concatenate(
            [
                outputs.per_token[layer][window.first - window.start : window.last - window.start]
                for window, outputs in pieces
            ]
        )
    means = {layer: pool(own, "mean") for layer, own in rows.items() if mean}
    return Outputs(mean=means, per_token=rows if per_token else {})
