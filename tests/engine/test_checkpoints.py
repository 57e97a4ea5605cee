"""The material of the other tests: random checkpoints with power, and writers that others read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import esm.pretrained
import pytest
import torch
from transformers import EsmForMaskedLM

from esm2.numerics import PROCESSOR
from tests.checkpoints import SHAPES, changed, inv_freq, random_fair_esm, save_fair_esm, save_hf
from tests.conftest import Reference
from tests.near import VISIBLE, differences
from tests.oracles import fair_esm_outputs, transformers_outputs
from tests.proteins import SEQUENCES

PROBE = SEQUENCES["300, many masks"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_random_checkpoint_behaves_like_a_trained_one(
    reference: Callable[[str], Reference], shape: str
) -> None:
    model = reference(shape).model
    outputs = fair_esm_outputs(model, SEQUENCES["50, every letter"])
    assert 1 < outputs["logits"].std() < 10
    assert outputs["contacts"].std() > 0.1
    assert ((outputs["contacts"] > 0.02) & (outputs["contacts"] < 0.98)).mean() > 0.7
    for layer in range(model.num_layers + 1):
        assert 0.1 < outputs[f"per_token {layer}"].std() < 10


def test_attention_of_a_random_checkpoint_is_neither_uniform_nor_a_spike(
    reference: Callable[[str], Reference],
) -> None:
    model = reference("8m").model
    _, _, token_ids = model.alphabet.get_batch_converter()([("", PROBE)])
    weights = model(token_ids, need_head_weights=True)["attentions"][0].double()
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1).mean()
    uniform = torch.tensor(float(token_ids.shape[1])).log()
    assert 0.5 * uniform < entropy < 0.9 * uniform


def test_the_same_seed_gives_the_same_checkpoint_and_another_seed_another() -> None:
    one, same, other = (random_fair_esm(*SHAPES["tiny"], seed=seed) for seed in (1, 1, 2))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
    assert not torch.equal(one.embed_tokens.weight, other.embed_tokens.weight)


def test_every_tensor_matters_to_some_output(reference: Callable[[str], Reference]) -> None:
    # A tensor that a loader forgot, or took for another, cannot pass the parity tests.
    model = reference("tiny").model
    before = fair_esm_outputs(model, PROBE)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":  # the embedding once more
            continue
        after = fair_esm_outputs(changed(model, {name: 0.9 * tensor}), PROBE)
        assert differences(after, before, VISIBLE), name


def test_computing_inv_freq_afresh_would_show(reference: Callable[[str], Reference]) -> None:
    model = reference("tiny").model
    exact = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
    assert not torch.equal(exact, inv_freq(16))
    afresh = changed(model, {f"layers.{i}.self_attn.rot_emb.inv_freq": exact for i in range(2)})
    wrong = differences(
        fair_esm_outputs(afresh, PROBE),
        fair_esm_outputs(model, PROBE),
        VISIBLE,
    )
    assert {line.split(":")[0] for line in wrong} >= {"logits", "contacts", "per_token 1"}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"inv_freq": "shared"},
        {"inv_freq": "star", "norms": "gamma"},
        {"shards": 3},
        {"container": "bin"},
        {"container": "bin", "shards": 2},
    ],
    ids=str,
)
def test_transformers_reads_what_save_hf_writes(
    reference: Callable[[str], Reference], tmp_path: Path, how: dict[str, object]
) -> None:
    model = reference("odd").model
    theirs, info = EsmForMaskedLM.from_pretrained(
        save_hf(model, tmp_path / "hf", **how),
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not any(info.values()), info  # nothing missing, nothing extra, nothing misshapen
    got = transformers_outputs(theirs.eval(), model, PROBE)
    assert not differences(got, fair_esm_outputs(model, PROBE), PROCESSOR)


def test_fair_esm_reads_what_save_fair_esm_writes(
    reference: Callable[[str], Reference], tmp_path: Path
) -> None:
    model = reference("odd").model
    path = save_fair_esm(model, tmp_path / "esm2_t3_odd.pt")
    # fair-esm calls torch.load as it was before torch 2.6; this is our own file.
    with torch.serialization.safe_globals([argparse.Namespace]):
        theirs, _ = esm.pretrained.load_model_and_alphabet_local(path)
    got = fair_esm_outputs(theirs.eval(), PROBE)
    assert not differences(got, fair_esm_outputs(model, PROBE), PROCESSOR)
