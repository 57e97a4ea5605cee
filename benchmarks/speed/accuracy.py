"""How far a result is from the reference: absolute, relative, and by direction.

A cosine alone would hide a constant factor, an absolute difference alone says nothing of scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: fair-esm defines the numbers; where it is too slow or too large, our float32 stands in.
REFERENCES = ("fair-esm", "esm2-float32")


def compare(result: NDArray[Any], reference: NDArray[Any]) -> dict[str, float]:
    """The distance of two results of one shape, (rows, columns).

    Returns:
        max_abs: the largest absolute difference.
        relative_l2: the norm of the difference over the norm of the reference.
        worst_cosine: the smallest cosine of two rows: of a protein, or of a residue.
    """
    assert result.shape == reference.shape
    got, want = result.astype(np.float64), reference.astype(np.float64)
    cosines = (got * want).sum(1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(want, axis=1))
    return {
        "max_abs": float(np.abs(got - want).max()),
        "relative_l2": float(np.linalg.norm(got - want) / np.linalg.norm(want)),
        "worst_cosine": float(cosines.min()),
    }
