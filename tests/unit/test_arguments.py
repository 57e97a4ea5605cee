"""What a program may hand over as sequences, layers and include, and what it is told otherwise."""

from __future__ import annotations

import io
from collections import OrderedDict, UserList
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from esm2.alphabet import tokenize, tokenize_all
from esm2.arguments import Embedding, encoding, kinds, layers, texts
from esm2.catalog import Shape
from esm2.errors import LayerOutOfRange
from esm2.types import ByLayer

SHAPE = Shape(6, 4, 2)
TWO = ["MKT", "GG"]


@pytest.mark.parametrize(
    "give",
    [
        list,
        tuple,
        iter,
        np.array,
        pd.Series,
        pd.Index,
        UserList,
        lambda two: (each for each in two),
        lambda two: dict(zip("ab", two, strict=True)).values(),
        lambda two: np.array(two, dtype=object),
        lambda two: pd.Series(two, index=["b", "a"]),
    ],
)
def test_whatever_holds_str_in_an_order_is_taken_in_that_order(give):
    assert texts(give(TWO), "sequences") == TWO
    assert [sequence for sequence, _ in tokenize_all(give(TWO), masks="none")] == TWO


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("MKT", r"sequences is one str; pass a list of sequences"),
        (np.str_("MKT"), r"sequences is one str"),
        ({"SPIKE": "MKT"}, r"sequences is a mapping \(dict\); pass list\(its\.values\(\)\)"),
        (OrderedDict(MKT="MKT"), r"sequences is a mapping \(OrderedDict\)"),
        (MappingProxyType({"MKT": "x"}), r"sequences is a mapping \(mappingproxy\)"),
        ({"MKT", "GG"}, r"sequences is a set, which has no order; pass a list of str"),
        (frozenset(TWO), r"sequences is a frozenset, which has no order"),
        (b"MKT", r"sequences is bytes; pass a list of str"),
        (bytearray(b"MKT"), r"sequences is bytearray; pass a list of str"),
        (None, r"sequences is NoneType; pass a list of str"),
        (5, r"sequences is int; pass a list of str"),
        (np.array("MKT"), r"sequences is ndarray of 0 dimensions"),
        (np.array([TWO]), r"sequences is ndarray of 2 dimensions; pass one column"),
        (pd.DataFrame({"MKT": TWO}), r"sequences is DataFrame of 2 dimensions; pass one column"),
        (io.StringIO(">a\nMKT\n"), r"sequences is an open file; read it"),
        (["MKT", None], r"sequences\[1\] is NoneType, not str"),
        (pd.Series(["MKT", None]), r"sequences\[1\] is (NoneType|float), not str"),
        (np.array([b"MKT"]), r"sequences\[0\] is bytes_, not str; decode it"),
        ([("a", "MKT")], r"sequences\[0\] is tuple, not str; pass the sequences alone"),
        ([TWO], r"sequences\[0\] is list, not str; pass one flat list"),
        ([1.5], r"sequences\[0\] is float, not str"),
    ],
)
def test_what_could_be_meant_in_two_ways_or_in_none_is_told_what_to_be(wrong, told):
    with pytest.raises(TypeError, match=f"^{told}"):
        tokenize_all(wrong, masks="any")


@pytest.mark.parametrize("wrong", [None, b"MKT", ["MKT"], 5, {"a": "MKT"}])
def test_where_one_sequence_is_wanted_nothing_else_is_taken_for_one(wrong):
    with pytest.raises(TypeError, match=f"^sequence is {type(wrong).__name__}; pass one str"):
        tokenize(wrong)


@pytest.mark.parametrize(
    ("asked", "resolved"),
    [
        (-1, (6,)),
        (0, (0,)),
        (np.int64(-2), (5,)),
        (np.array(3), (3,)),
        ([2, -1, 2], (2, 6, 2)),
        (range(2), (0, 1)),
        (np.array([1, 0]), (1, 0)),
        (iter([4]), (4,)),
    ],
)
def test_a_layer_is_a_whole_number_or_several_in_an_order(asked, resolved):
    found = layers(asked, SHAPE)
    assert found == resolved
    assert {type(each) for each in found} == {int}


@pytest.mark.parametrize(
    ("wrong", "kind", "told"),
    [
        ("12", TypeError, "layers is '12'; pass a whole number"),
        ("-1", TypeError, "layers is '-1'"),
        (1.0, TypeError, "layers is float"),
        (True, TypeError, "layers is a bool"),
        (None, TypeError, "layers is NoneType"),
        ([0, "1"], TypeError, r"layers\[1\] is str"),
        ([0, 1.5], TypeError, r"layers\[1\] is float"),
        ([[0]], TypeError, r"layers\[0\] is list"),
        ({0, 1}, TypeError, "layers is a set, which has no order"),
        ({0: 1}, TypeError, "layers is a mapping"),
        ((), ValueError, "layers is empty"),
        (7, LayerOutOfRange, "layer 7 does not exist"),
        ([0, -8], LayerOutOfRange, "layer -8 does not exist"),
    ],
)
def test_what_is_no_layer_is_told_what_to_be(wrong, kind, told):
    with pytest.raises(kind, match=f"^{told}"):
        layers(wrong, SHAPE)


def test_outputs_are_asked_for_by_name_from_anything_that_can_be_gone_through():
    for given in (
        ["logits", "mean"],
        ("mean", "logits"),
        {"mean", "logits"},
        iter(["logits", "mean"]),
    ):
        assert kinds(given) == ("mean", "logits")
    assert encoding(iter(["bos"]), -1, SHAPE).bos
    for wrong in ("mean", [], ["loss"], [["mean"]]):
        with pytest.raises(ValueError, match="use a list of"):
            kinds(wrong)
    for wrong in ({"mean": False}, None, 5):
        with pytest.raises(TypeError, match="pass a list of mean"):
            kinds(wrong)


def test_layers_are_stacked_in_the_order_in_which_they_were_asked_for():
    outputs = ByLayer({0: np.zeros((5, 4), np.float32), 6: np.ones((5, 4), np.float32)}, 6)

    class Got:
        per_token = outputs

    assert Embedding.asked(-1, None, SHAPE).of(Got).shape == (5, 4)
    assert Embedding.asked([6, 0, -1], None, SHAPE).of(Got)[0, :, 0].tolist() == [1, 0, 1]
    assert Embedding.asked(-1, "max", SHAPE).of(Got).tolist() == [1] * 4
    assert Embedding.asked([6, 0], "min", SHAPE).of(Got)[:, 0].tolist() == [1, 0]
    assert Embedding.asked([0], "mean", SHAPE).together([]).shape == (0, 4)
    assert Embedding.asked([0], "max", SHAPE).together([]).shape == (0, 4)
    assert Embedding.asked([0, 1], "bos", SHAPE).together([]).shape == (0, 2, 4)
    assert Embedding.asked(0, None, SHAPE).together([]) == []


def test_an_array_is_found_under_the_layer_that_was_asked_for_from_either_end():
    mean = ByLayer({6: np.ones(4), 0: np.zeros(4)}, 6)
    assert mean[-1] is mean[6]
    assert mean[-7] is mean[0]
    assert -1 in mean
    assert 5 not in mean
    assert mean.get(-2) is None
    assert list(mean) == [6, 0]
    assert mean[np.int64(-1)] is mean[6]
    for absent in (5, -2, 7, -8, "6", None, 1.5):
        with pytest.raises(KeyError, match=f"layer {absent!r} was not asked for; there are: 6, 0"):
            mean[absent]
