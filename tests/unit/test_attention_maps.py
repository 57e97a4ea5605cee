"""`Model.attention_maps`: what may be asked for, the order of what comes, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import esm2
from esm2.errors import DoesNotFit, HeadOutOfRange, LayerOutOfRange, RequestError
from tests.near import assert_same

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"
L = len(PROTEIN)


@pytest.fixture(scope="module")
def model():
    with esm2.load("esm2-demo", device="cpu") as loaded:
        yield loaded


def test_maps_come_by_layer_and_head_in_the_order_asked_for(model):
    every = model.attention_maps(PROTEIN, layers=range(1, 7))
    assert (every.shape, every.dtype) == ((6, 6, L, L), np.float32)
    assert_same(model.attention_maps(PROTEIN), every[-1:])
    assert_same(model.attention_maps(PROTEIN, 2, 3), every[1:2, 3:4])
    assert_same(
        model.attention_maps(PROTEIN, layers=[-1, 1], heads=[4, 0, -1]), every[[5, 0]][:, [4, 0, 5]]
    )
    repeated = model.attention_maps(PROTEIN, layers=np.array([6, -1, 2]), heads=(1, 1))
    assert_same(repeated, every[[5, 5, 1]][:, [1, 1]])


def test_a_row_is_what_a_residue_pays_to_residues_and_the_means_follow_from_maps(model):
    every = model.attention_maps(PROTEIN, layers=range(1, 7))
    sums = every.sum(axis=-1)
    assert (sums > 0).all()
    assert (sums < 1 + 1e-5).all()
    assert sums.min() < 0.9  # the rest goes to the tokens at both ends
    (means,) = model.attentions([PROTEIN])
    # Of the L + 2 tokens that look, the two at the ends are in no map, and pay at most all of it.
    without_ends = every.mean(axis=1).sum(axis=1) / (L + 2)
    assert ((means - without_ends > -1e-5) & (means - without_ends < 2 / (L + 2) + 1e-5)).all()


def test_a_program_is_told_of_what_is_hardly_a_protein(model, caplog):
    model.attention_maps("ACGTACGTAC<mask>T", heads=0)
    assert caplog.messages == ["esm2: sequences[0]: it looks like DNA or RNA"]


def test_masks_are_allowed(model):
    assert model.attention_maps("MK<mask>A", heads=0).shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("error", "message", "asked"),
    [
        (LayerOutOfRange, "layer 7 does not exist", {"layers": 7}),
        (RequestError, "layer 0 is the embedding, which has no attention", {"layers": [1, 0]}),
        (RequestError, "layer 0 is the embedding", {"layers": -7}),
        (HeadOutOfRange, r"head 6 does not exist; each .* has heads 0 to 5,", {"heads": 6}),
        (HeadOutOfRange, "head -7 does not exist", {"heads": [0, -7]}),
        (TypeError, r"heads\[0\] is str; pass a whole number", {"heads": ["1"]}),
        (TypeError, "heads is a bool", {"heads": True}),
        (ValueError, "heads is empty; ask for at least one", {"heads": []}),
    ],
)
def test_what_there_is_not_is_refused(model, error, message, asked):
    with pytest.raises(error, match=message):
        model.attention_maps(PROTEIN, **asked)


def test_more_maps_than_there_is_memory_for_are_refused_before_anything_is_computed(model):
    with pytest.raises(DoesNotFit, match="36 attention maps of 200000 residues do not fit"):
        model.attention_maps("M" * 200_000, layers=range(1, 7))


def test_a_closed_model_gives_no_maps():
    with esm2.load("esm2-demo", device="cpu") as loaded:
        pass
    with pytest.raises(ValueError, match="closed"):
        loaded.attention_maps("MK")
