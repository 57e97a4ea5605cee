"""Our engine against transformers' EsmForMaskedLM, float32, every output at every layer.

transformers 5 reads `inv_freq` from the checkpoint (that of the first layer, for all layers) and
does not compute it afresh, so that the models compare as they are loaded; a test here makes sure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import EsmForMaskedLM

from esm2.engine.engine import Engine
from esm2.numerics import TRANSFORMERS
from tests.checkpoints import inv_freq, save_hf
from tests.conftest import Reference
from tests.near import Limits, differences
from tests.oracles import fair_esm_outputs, our_outputs, transformers_outputs
from tests.proteins import LONG_SEQUENCES, SEQUENCES

FEW = ("1 mask", "2 rare", "50, every letter", "300, many masks")


def _load(directory: Path) -> EsmForMaskedLM:
    # "eager" is the attention that shows its maps.
    return EsmForMaskedLM.from_pretrained(directory, attn_implementation="eager").eval()


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ("tiny", (*SEQUENCES, *LONG_SEQUENCES)),
        ("odd", (*SEQUENCES, *LONG_SEQUENCES)),
        ("8m", tuple(SEQUENCES)),
        ("35m", FEW),
    ],
)
def test_every_output_at_every_layer_equals_transformers(
    reference: Callable[[str], Reference], shape: str, names: tuple[str, ...]
) -> None:
    ours = reference(shape)
    theirs = _load(ours.directory)
    sequences = SEQUENCES | LONG_SEQUENCES
    wrong = [
        f"{shape}, {name}: {line}"
        for name in names
        for line in differences(
            our_outputs(ours.engine, sequences[name]),
            transformers_outputs(theirs, ours.model, sequences[name]),
            TRANSFORMERS,
        )
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("spelling", ["per_layer", "shared", "star"])
def test_transformers_takes_inv_freq_from_the_checkpoint_in_every_spelling(
    reference: Callable[[str], Reference], tmp_path: Path, spelling: str
) -> None:
    tiny = reference("tiny").model
    theirs = _load(save_hf(tiny, tmp_path / spelling, inv_freq=spelling))
    assert torch.equal(theirs.esm.rotary_embeddings.inv_freq, inv_freq(head_dim=16))


@pytest.mark.parametrize(
    ("key", "value", "moves"),
    [("token_dropout", False, "per_token 0"), ("layer_norm_eps", 0.05, "per_token 1")],
)
def test_settings_of_the_configuration_are_honoured(
    reference: Callable[[str], Reference], tmp_path: Path, key: str, value: object, moves: str
) -> None:
    tiny = reference("tiny")
    sequence = SEQUENCES["50, one mask"]
    directory = save_hf(tiny.model, tmp_path / "changed")
    config = json.loads((directory / "config.json").read_bytes())
    (directory / "config.json").write_text(json.dumps({**config, key: value}))
    ours = our_outputs(Engine.load(directory, "changed", device="cpu"), sequence)
    theirs = transformers_outputs(_load(directory), tiny.model, sequence)
    assert not differences(ours, theirs, TRANSFORMERS)
    before = fair_esm_outputs(tiny.model, sequence)
    moved = Limits("a setting", 0.01, 0.01)
    assert differences({moves: ours[moves]}, {moves: before[moves]}, moved)
