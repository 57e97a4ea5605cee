"""`science.search` against a loop over all pairs, each computed by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from esm2.science import search
from esm2.science.search import Nearest, nearest


def brute_force(queries, targets, k, metric):
    """(index, value) of the k nearest of each query, by Python's own sums."""
    found = []
    for query in queries.astype(float).tolist():
        ranked = []
        for index, target in enumerate(targets.astype(float).tolist()):
            if metric == "euclidean":
                far = math.dist(query, target)
            else:
                dot = math.fsum(a * b for a, b in zip(query, target, strict=True))
                far = -dot / (math.hypot(*query) * math.hypot(*target))
            ranked.append((round(far, 12), index))
        found.append([(i, -far if metric == "cosine" else far) for far, i in sorted(ranked)[:k]])
    return found


def vectors(count: int, dim: int = 24, seed: int = 0) -> np.ndarray:
    """As embeddings are: near to each other, and not around 0."""
    source = np.random.default_rng(seed)
    return (source.normal(size=(count, dim)) + 3 * np.sin(np.arange(dim))).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3, 60])
def test_the_nearest_are_those_of_a_loop_over_all_pairs(metric, k):
    queries, targets = vectors(7, seed=1), vectors(60, seed=2)
    targets[[3, 17, 40, 41]] = targets[9]
    queries[2] = targets[9]
    indices, values = nearest(queries, targets, k, metric)
    want = brute_force(queries, targets, k, metric)
    assert indices.tolist() == [[index for index, _ in row] for row in want]
    np.testing.assert_allclose(values, [[value for _, value in row] for row in want], atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_and_company_change_no_bit(metric):
    queries, targets = vectors(9, 50, seed=3), vectors(300, 50, seed=4)
    targets[100:200:7] = targets[5]  # as near as each other, and in several blocks
    queries[4] = targets[5] + np.float32(0.001)
    whole = nearest(queries, targets, 25, metric)
    for size in (1, 2, 17, 299, 300):
        found = Nearest(queries, 25, metric)
        for first in range(0, 300, size):
            found.add(targets[first : first + size])
        np.testing.assert_array_equal(found.indices, whole[0])
        np.testing.assert_array_equal(found.values, whole[1])
    for row in range(9):
        alone = nearest(queries[row : row + 1], targets, 25, metric)
        np.testing.assert_array_equal(alone[0][0], whole[0][row])
        np.testing.assert_array_equal(alone[1][0], whole[1][row])


def test_an_array_larger_than_a_block_is_searched_to_its_end():
    targets = vectors(search.BLOCK + 5, 4)
    indices, values = nearest(targets[[-1, 0]], targets, 1, "euclidean")
    assert (indices.tolist(), values.tolist()) == ([[search.BLOCK + 4], [0]], [[0.0], [0.0]])


def test_equal_vectors_have_distance_0_and_cosine_1_and_the_earlier_comes_first():
    targets = vectors(40)
    targets[[7, 20, 33]] *= np.float32(1000)  # where |q|^2 + |t|^2 - 2 q.t would be far from 0
    targets[33] = targets[20] = targets[7]
    for metric, same in (("euclidean", 0.0), ("cosine", 1.0)):
        indices, values = nearest(targets[[33]], targets, 4, metric)
        assert indices[0, :3].tolist() == [7, 20, 33]
        np.testing.assert_allclose(values[0, :3], same, rtol=0, atol=1e-15)
        assert len(set(values[0, :3])) == 1


def test_what_is_not_to_be_a_querys_is_left_out():
    targets = vectors(5)
    found = Nearest(targets, 4, "cosine")
    found.add(targets[:3], np.eye(5, 3, dtype=bool))
    found.add(targets[3:], np.eye(5, 2, -3, dtype=bool))
    assert all(row not in own for row, own in enumerate(found.indices.tolist()))
    short = Nearest(targets, 5, "cosine")
    short.add(targets, np.eye(5, dtype=bool))
    assert short.indices[:, -1].tolist() == [-1] * 5
    assert (short.indices[:, :-1] >= 0).all()


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (r"k is 0 and targets have shape \(4, 24\)", {"k": 0}),
        (r"k is 5 and targets have shape \(4, 24\)", {"k": 5}),
        ("use one of cosine, euclidean", {"metric": "dot"}),
        ("queries and targets have 23 and 24 dimensions", {"queries": vectors(2, 23)}),
        (r"queries have shape \(24,\)", {"queries": vectors(2)[0]}),
        (r"queries\[1\] is all zeros", {"queries": vectors(2) * np.float32([[1], [0]])}),
        (r"targets\[1\] has a number", {"targets": vectors(2) * np.float32([[1], [np.nan]])}),
        (r"queries\[0\] has a number", {"queries": vectors(1) * np.float32(np.inf)}),
    ],
)
def test_what_cannot_be_compared_is_a_mistake_of_the_program(message, arguments):
    with pytest.raises(ValueError, match=message):
        nearest(**{"queries": vectors(2), "targets": vectors(4), "k": 1} | arguments)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("queries are a list; pass a numpy array", {"queries": vectors(2).tolist()}),
        ("targets are a list; pass a numpy array", {"targets": vectors(4).tolist()}),
        ("queries are of dtype <U", {"queries": vectors(2).astype(str)}),
        ("k is str; pass a whole number", {"k": "1"}),
        ("k is float; pass a whole number", {"k": 1.0}),
    ],
)
def test_what_is_no_array_of_numbers_is_told_what_to_be(message, arguments):
    with pytest.raises(TypeError, match=f"^{message}"):
        nearest(**{"queries": vectors(2), "targets": vectors(4), "k": 1} | arguments)


def test_none_of_the_nearest_cannot_be_asked_for():
    with pytest.raises(ValueError, match="k is 0; ask for at least one"):
        Nearest(vectors(2), 0, "cosine")


def test_a_vector_of_zeros_has_a_distance():
    indices, values = nearest(np.zeros((1, 2)), np.array([[3.0, 4.0], [0, 0]]), 2, "euclidean")
    assert (indices.tolist(), values.tolist()) == ([[1, 0]], [[0.0, 5.0]])
