"""What a generation has words for, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from esm2.catalog import Shape
from esm2.server.bodies import EncodeBody
from esm2.server.body import Rules
from esm2.server.dialect import Dialect
from esm2.service import Service
from esm2.settings import Settings
from esm2.types import BY_LAYER, KINDS, OUTPUTS, Outputs, Want
from tests.wire.fake import DECIDED, at_once, ones

SHORT = Dialect({"mean": "m", "logits": "l"}, lambda _, layers: list(layers), "columns", True)


def read(*include: str) -> EncodeBody:
    fake = Service(DECIDED, at_once(ones))
    rules = Rules(fake, Settings.model_construct(), "encode", "none", tuple(SHORT.keys))
    content = {"items": [{"sequence": "MKT"}], "params": {"include": list(include)}}
    return EncodeBody.model_validate(content, context=rules)


def test_a_kind_that_a_generation_has_no_word_for_is_refused():
    with pytest.raises(ValidationError, match="contacts is not in this API, which has mean, logit"):
        read("mean", "contacts")


def test_a_dialect_says_what_was_asked_for_in_its_own_order():
    own = Outputs(logits=np.zeros((2, 33), np.float32), mean={3: np.zeros(4), 1: np.zeros(4)})
    [result] = SHORT.encode_answer([], [own])["results"]
    assert list(result) == ["sequence_index", "m", "l", "columns"]
    assert result["m"] == [1, 3]


def test_every_kind_of_output_is_in_the_table():
    want = Want(layers=(1,), **dict.fromkeys(KINDS, True))
    assert want.described == ", ".join(OUTPUTS)
    assert {kind: OUTPUTS[kind].shape(Shape(6, 320, 20), 5, 20) for kind in OUTPUTS} == {
        "mean": (320,),
        "per_token": (5, 320),
        "bos": (320,),
        "logits": (5, 20),
        "contacts": (5, 5),
        "attentions": (6, 5),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_of_a_layer_needs_no_deeper_one(kind):
    assert Want(layers=(2,), **{kind: True}).depth(6) == (2 if kind in BY_LAYER else 6)
