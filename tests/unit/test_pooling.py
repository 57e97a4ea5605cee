"""What is made of the rows of residues, and of which of them."""

import math

import numpy as np
import pytest

from esm2 import pooling
from esm2.pooling import Region
from esm2.types import OUTPUTS, Outputs

ROWS = np.random.default_rng(0).standard_normal((7, 3), np.float32)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]], ids=["several", "one"])
@pytest.mark.parametrize(
    ("how", "formula"),
    [
        ("mean", lambda values: math.fsum(values) / len(values)),
        ("max", max),
        ("min", min),
    ],
)
def test_each_dimension_is_pooled_by_itself(rows, how, formula):
    pooled = pooling.pool(rows, how)
    assert (pooled.shape, pooled.dtype) == ((3,), np.float32)
    expected = [np.float32(formula([float(x) for x in column])) for column in rows.T]
    np.testing.assert_array_equal(pooled, expected)


def test_a_region_is_counted_from_1_with_both_ends_and_each_residue_once():
    assert Region(((2, 2),)).rows.tolist() == [1]
    region = Region(((5, 7), (2, 3), (3, 5)))
    assert region.rows.tolist() == [1, 2, 3, 4, 5, 6]
    assert (str(region), region.last) == ("5-7,2-3,3-5", 7)


def test_what_a_model_gives_is_asked_of_it_and_the_rest_is_made():
    assert set(pooling.KINDS) == {kind for kind in OUTPUTS if OUTPUTS[kind].by_layer} | {
        "max",
        "min",
    }
    for kinds, regional, asked in [
        (("mean", "bos"), False, "mean, bos"),
        (("mean", "max"), False, "mean, per_token"),
        (("min",), False, "per_token"),
        (("mean",), True, "per_token"),
        (("per_token", "min"), True, "per_token"),
        (("bos", "contacts"), False, "bos, contacts"),
    ]:
        assert pooling.asked(kinds, (6,), regional=regional).described == asked


def test_all_kinds_of_a_region_are_of_its_rows_alone():
    found = pooling.read(
        Outputs(per_token={0: ROWS, 6: -ROWS}), ("mean", "per_token", "max"), Region(((2, 4),))
    )
    for layer, rows in {0: ROWS[1:4], 6: -ROWS[1:4]}.items():
        np.testing.assert_array_equal(found.per_token[layer], rows)
        np.testing.assert_array_equal(found.max[layer], rows.max(axis=0))
        np.testing.assert_array_equal(found.mean[layer], pooling.pool(rows, "mean"))
    assert found.min == found.bos == {}


def test_without_a_region_the_mean_is_the_models_own_and_rows_that_nobody_asked_for_are_dropped():
    mean, contacts = {6: np.ones(3, np.float32)}, np.ones((7, 7), np.float32)
    outputs = Outputs(mean=mean, per_token={6: ROWS}, contacts=contacts)
    found = pooling.read(outputs, ("mean", "min", "contacts"), None)
    assert found.mean is mean
    assert found.contacts is contacts
    assert found.per_token == found.max == {}
    np.testing.assert_array_equal(found.min[6], ROWS.min(axis=0))
