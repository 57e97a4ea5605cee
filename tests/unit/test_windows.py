"""Windows: every residue is read once, with enough of the protein around it."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2.types import Outputs
from esm2.windows import Window, joined, windows

DIM = 3


@st.composite
def proteins(draw):
    """Residues and the size of a window, which is smaller."""
    size = draw(st.integers(2, 300))
    return draw(st.integers(size + 1, size * 12)), size


cases = settings(derandomize=True, deadline=None, max_examples=300)


@cases
@given(proteins())
def test_every_residue_is_read_once_and_in_order(protein):
    residues, size = protein
    read = [i for own in windows(residues, size) for i in range(own.first, own.last)]
    assert read == list(range(residues))


@cases
@given(proteins())
def test_windows_are_of_equal_size_inside_the_protein_from_end_to_end(protein):
    residues, size = protein
    plan = windows(residues, size)
    assert {own.stop - own.start for own in plan} == {size}
    assert (plan[0].start, plan[-1].stop) == (0, residues)
    assert len(plan) >= 2


@cases
@given(proteins())
def test_neighbours_overlap_by_half_a_window_or_more_and_none_is_there_for_nothing(protein):
    residues, size = protein
    plan = windows(residues, size)
    for before, own in pairwise(plan):
        assert before.stop - own.start >= size // 2
        assert before.start < own.start
    assert all(own.first < own.last for own in plan)
    reach = size + (len(plan) - 2) * (size - size // 2)
    assert reach < residues  # with one window less they could not overlap by so much


@cases
@given(proteins())
def test_a_residue_is_read_a_quarter_of_a_window_from_an_edge_or_at_the_end(protein):
    residues, size = protein
    for own in windows(residues, size):
        for i in (own.first, own.last - 1):
            assert own.start == 0 or i - own.start >= size // 4
            assert own.stop == residues or own.stop - 1 - i >= size // 4
            assert own.start <= i < own.stop


@cases
@given(proteins())
def test_a_residue_is_read_where_it_stands_furthest_from_an_edge(protein):
    residues, size = protein
    plan = windows(residues, size)

    def room(own, i):
        left = residues if own.start == 0 else i - own.start
        right = residues if own.stop == residues else own.stop - 1 - i
        return min(left, right)

    for own in plan:
        for i in (own.first, (own.first + own.last) // 2, own.last - 1):
            best = max(room(other, i) for other in plan if other.start <= i < other.stop)
            assert room(own, i) >= best - 1  # halves may be rounded either way


def test_a_protein_one_residue_too_long_has_two_windows():
    assert windows(11, 10) == [Window(0, 10, 0, 5), Window(1, 11, 5, 11)]


def pieces(plan, layers=(0, 6)):
    """Windows with numbers of which each tells its window and its residue."""
    return [
        (
            own,
            Outputs(
                per_token={
                    layer: np.float32(
                        [[layer, number, i] for i in range(own.start, own.stop)]
                    ).reshape(-1, DIM)
                    for layer in layers
                }
            ),
        )
        for number, own in enumerate(plan)
    ]


def test_rows_are_those_of_the_window_in_which_a_residue_is_read():
    plan = windows(57, 20)
    got = joined(pieces(plan), mean=False, per_token=True)
    assert got.mean == {}
    for layer in (0, 6):
        want = [[layer, n, i] for n, own in enumerate(plan) for i in range(own.first, own.last)]
        np.testing.assert_array_equal(got.per_token[layer], want)
        assert got.per_token[layer].dtype == np.float32


def test_the_mean_is_over_all_residues_of_the_protein():
    got = joined(pieces(windows(57, 20)), mean=True, per_token=False)
    assert got.per_token == {}
    assert got.mean[6][2] == np.mean(np.arange(57))
    assert got.mean[6].dtype == np.float32
    assert set(got.mean) == {0, 6}


def test_the_mean_of_very_many_residues_loses_nothing():
    plan = windows(300_000, 100_000)
    outputs = [
        (own, Outputs(per_token={6: np.full((100_000, 1), 16_777_217 / 3, np.float32)}))
        for own in plan
    ]
    assert joined(outputs, mean=True, per_token=False).mean[6][0] == np.float32(16_777_217 / 3)
