"""Our engine against fair-esm 2.0.0, float32, one sequence alone: every output at every layer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from esm2.numerics import FAIR_ESM
from tests.conftest import Reference
from tests.near import differences
from tests.oracles import fair_esm_outputs, our_outputs
from tests.proteins import LONG_SEQUENCES, SEQUENCES


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("shape", ["tiny", "odd", "8m", "35m"])
def test_every_output_at_every_layer_equals_fair_esm(
    reference: Callable[[str], Reference], shape: str, name: str
) -> None:
    _compare(reference(shape), shape, name, SEQUENCES[name])


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        *itertools.product(["tiny", "odd"], LONG_SEQUENCES),
        ("8m", "1022, some masks"),  # for which fair-esm needs 3 GB
    ],
)
def test_long_sequences_equal_fair_esm_too(
    reference: Callable[[str], Reference], shape: str, name: str
) -> None:
    _compare(reference(shape), shape, name, LONG_SEQUENCES[name])


def _compare(reference: Reference, shape: str, name: str, sequence: str) -> None:
    wrong = differences(
        our_outputs(reference.engine, sequence),
        fair_esm_outputs(reference.model, sequence),
        FAIR_ESM,
    )
    assert not wrong, f"{shape}, {name}:\n" + "\n".join(wrong)
