"""Nearest neighbours among embeddings: exact, by blocks of numpy, no index.

    cosine       q.t / (|q| |t|)      the larger the nearer
    euclidean    |q - t|              the smaller the nearer

A product of two blocks, in float64, says which targets can be among the k nearest; those few are
then computed each by itself, which gives the same number wherever a target lies. So equal vectors
are equally near to the bit, an equal one has distance 0, and of what is equally near the earlier
target comes first, whatever the blocks.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esm2.arguments import check_one_of, whole
from esm2.science.scoring import Double

Metric = Literal["cosine", "euclidean"]

BLOCK = 2048  # targets

# How far the product may be from the number itself, relative to the lengths of both vectors: it
# rounds D times, 5120 at most, by 1e-16.
_ROUNDING = 1e-11


def nearest(
    queries: NDArray[np.floating[Any]],
    targets: NDArray[np.floating[Any]],
    k: int = 3,
    metric: Metric = "cosine",
) -> tuple[NDArray[np.int64], Double]:
    """The k nearest targets of each query, the nearest first.

    Args:
        queries: floating point (q, D).
        targets: floating point (n, D), n at least k.
        k: 1..n.
        metric: "cosine" or "euclidean".

    Returns:
        int64 (q, k), rows of `targets`, and float64 (q, k), their cosines or distances.

    Raises:
        TypeError: k is no whole number, or vectors are no numpy array of numbers.
        ValueError: the shapes do not fit, k is not 1..n, a number is not finite, or a vector has
            no direction (all zeros), for cosine.
    """
    _check_numbers(targets, "targets")
    if targets.ndim != 2 or not 1 <= whole(k, "k") <= len(targets):
        raise ValueError(f"k is {k} and targets have shape {targets.shape}; (n, D), n >= k >= 1")
    found = Nearest(queries, k, metric)
    for first in range(0, len(targets), BLOCK):
        found.add(targets[first : first + BLOCK])
    return found.indices, found.values


def faulty(vectors: NDArray[np.floating[Any]], metric: Metric) -> tuple[int, str] | None:
    """The first vector that is near to nothing: its row, and what is wrong with it."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        return int(np.flatnonzero(~finite)[0]), "has a number that is not finite"
    if metric == "cosine" and not (there := vectors.any(axis=1)).all():
        return int(np.flatnonzero(~there)[0]), "is all zeros, which has no cosine with anything"
    return None


def _check_numbers(vectors: object, name: str) -> None:
    advice = "pass a numpy array of floating point, (n, D)"
    if not isinstance(vectors, np.ndarray):
        raise TypeError(f"{name} are a {type(vectors).__name__}; {advice}")
    if vectors.dtype.kind not in "fiu":
        raise TypeError(f"{name} are of dtype {vectors.dtype}; {advice}")


class Nearest:
    """The nearest of all targets so far, which come in blocks.

    Args:
        queries, k, metric: as of `nearest`.

    Attributes:
        indices: int64 (q, k), the nearest first, counted over all blocks; as many as there were,
            while those are fewer than k, and -1 where too many were left out.
        count: targets so far.
    """

    def __init__(self, queries: NDArray[np.floating[Any]], k: int, metric: Metric) -> None:
        check_one_of(metric, Metric, "metric")
        if whole(k, "k") < 1:
            raise ValueError(f"k is {k}; ask for at least one")
        self._cosine = metric == "cosine"
        self._metric: Metric = metric
        self._queries = self._checked(queries, "queries")
        self._lengths = _lengths(self._queries)
        self._k = k
        self.count = 0
        self.indices = np.empty((len(queries), 0), np.int64)
        self._far = np.empty((len(queries), 0))  # distances, or cosines times -1

    @property
    def values(self) -> Double:
        """Their cosines or distances, float64, as `indices`."""
        return -self._far if self._cosine else self._far

    def add(self, block: NDArray[np.floating[Any]], but: NDArray[np.bool_] | None = None) -> None:
        """Look at more targets.

        Args:
            block: floating point (b, D).
            but: bool (q, b): those that are not to be a query's.

        Raises:
            ValueError: as `nearest`.
        """
        targets = self._checked(block, "targets")
        if not len(targets):
            return
        far, slack = self._estimated(targets)
        if but is not None:
            far[but] = np.inf
        self._make_room(len(targets))
        k = min(self._k, len(targets))
        bound = np.minimum(np.partition(far, k - 1, axis=1)[:, k - 1], self._farthest()) + slack
        near = (far <= bound[:, None]) & (far < np.inf)
        for row in np.flatnonzero(near.any(axis=1)).tolist():
            own = np.flatnonzero(near[row])
            self._take(row, own + self.count, self._exactly(row, targets[own]))
        self.count += len(targets)

    def _make_room(self, more: int) -> None:
        grown = min(self._k, self.count + more) - self.indices.shape[1]
        if grown:  # not k from the start: it may be a slip of the pen
            self.indices = np.pad(self.indices, ((0, 0), (0, grown)), constant_values=-1)
            self._far = np.pad(self._far, ((0, 0), (0, grown)), constant_values=np.inf)

    def _checked(self, vectors: NDArray[np.floating[Any]], name: str) -> Double:
        _check_numbers(vectors, name)
        if vectors.ndim != 2:
            raise ValueError(f"{name} have shape {vectors.shape}; (n, D) is wanted")
        if fault := faulty(vectors, self._metric):
            row, reason = fault
            raise ValueError(f"{name}[{row}] {reason}")
        checked = np.ascontiguousarray(vectors, np.float64)
        if name == "targets" and checked.shape[1] != self._queries.shape[1]:
            have = f"{self._queries.shape[1]} and {checked.shape[1]}"
            raise ValueError(f"queries and targets have {have} dimensions")
        return checked

    def _estimated(self, targets: Double) -> tuple[Double, Double]:
        """Cosines times -1 or squared distances (q, b), and how far they may be off (q,)."""
        far = self._queries @ targets.T
        lengths = _lengths(targets)
        if self._cosine:
            far /= -self._lengths[:, None]
            far /= lengths
            return far, np.full(len(far), _ROUNDING)
        far *= -2
        far += self._lengths[:, None] ** 2
        far += lengths**2
        return far, _ROUNDING * (self._lengths**2 + lengths.max() ** 2)

    def _farthest(self) -> Double:
        """Of the k so far, in the units of `_estimated`."""
        last: Double = self._far[:, -1] if self._cosine else np.square(self._far[:, -1])
        return last

    def _exactly(self, row: int, targets: Double) -> Double:
        query = self._queries[row]
        if self._cosine:
            cosines = (targets * query).sum(axis=1) / (_lengths(targets) * self._lengths[row])
            negative: Double = -np.clip(cosines, -1, 1)
            return negative
        return _lengths(targets - query)

    def _take(self, row: int, indices: NDArray[np.int64], far: Double) -> None:
        k = self.indices.shape[1]
        all_far = np.concatenate([self._far[row], far])
        best = np.argsort(all_far, kind="stable")[:k]  # the earlier first
        self._far[row] = all_far[best]
        self.indices[row] = np.concatenate([self.indices[row], indices])[best]


def _lengths(vectors: Double) -> Double:
    """(n, D) -> (n,); of each row by itself, so that equal rows have equal ones."""
    lengths: Double = np.sqrt((vectors * vectors).sum(axis=1))
    return lengths
