"""Comparing arrays within the limits of the numeric contract (esm2.numerics)."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esm2 import numerics
from esm2.numerics import Limits

Arrays = dict[str, NDArray[np.float32]]

#: A change that no two programs make by rounding: for tests which want to see one.
VISIBLE = Limits("a mistake", 1e-3, 1e-3)


def differences(got: Arrays, want: Arrays, limits: Limits) -> list[str]:
    """What is wrong with `got`, one line for each output; empty when nothing is.

    Args:
        got, want: arrays by name; a name begins with the kind of output.
        limits: how far apart they may be.
    """
    wrong = [f"{name}: only on one side" for name in sorted(got.keys() ^ want.keys())]
    for name in got.keys() & want.keys():
        mine, reference = got[name], want[name]
        if mine.shape != reference.shape or mine.dtype != np.float32:
            wrong.append(f"{name}: {mine.dtype} {mine.shape}, expected float32 {reference.shape}")
            continue
        if not mine.size:
            continue
        difference = mine.astype(np.float64) - reference.astype(np.float64)
        furthest = np.abs(difference).max()
        limit = limits.allowed(name, float(np.abs(reference).max()))
        if not furthest <= limit:  # so written, NaN is wrong
            wrong.append(f"{name}: largest difference {furthest:.3g}, limit {limit:.3g}")
        if name == "contacts":
            continue
        # Where the reference is all zeros (masked embeddings) nothing but zeros will do.
        distance, size = np.linalg.norm(difference), np.linalg.norm(reference.astype(np.float64))
        if size and not distance <= limits.l2 * size:
            wrong.append(f"{name}: relative L2 {distance / size:.3g}, limit {limits.l2:.3g}")
    return wrong


def assert_near(got: ArrayLike, want: ArrayLike, limits: Limits, kind: str = "array") -> None:
    """Fail unless two arrays of one kind of output are within the limits."""
    arrays = ({kind: np.asarray(array, np.float32)} for array in (got, want))
    wrong = differences(*arrays, limits)
    assert not wrong, f"{limits.differs}: {wrong}"


def assert_same(got: ArrayLike, want: ArrayLike, kind: str = "array") -> None:
    """Fail unless these are the answers to one question, in whatever company it was asked."""
    assert_near(got, want, company(), kind)


def assert_scores(got: ArrayLike, want: ArrayLike) -> None:
    """Fail unless the scores, in nats, are the same within the contract."""
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0, atol=numerics.SCORE)


@functools.cache
def company() -> Limits:
    """What company may change on this machine."""
    from esm2.engine import onednn
    from esm2.engine.native.library import instruction_sets

    return numerics.company(bool(instruction_sets()) or onednn.available())
