"""BioLM's recorded answers and ours to the same request: same keys, order, shapes, digits.

The numbers differ, because the models do (theirs is esm2-650m). What a number means is proven
against fair-esm in tests/engine.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.digits import Digits, is_float64_of_float32, read
from tests.wire.forms import OURS, V2_PARAMS, form, recorded_forms


@pytest.fixture(params=V2_PARAMS)
def recorded(request) -> dict[str, Any]:
    return recorded_forms()[request.param]


def test_our_answer_is_built_like_the_recorded_one(server, recorded):
    answer = server.post("/api/v2/my-slug/encode/", recorded["request"])
    assert answer.status == 200
    assert form(read(answer.body), OURS) == recorded["form"]


def test_their_digits_are_the_ones_we_write(recorded):
    digits = [Digits(each) for each in recorded["digits"].split()]
    assert len(digits) == 200
    assert [each for each in digits if not is_float64_of_float32(each)] == []
