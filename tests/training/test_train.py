"""Training runs: they learn, go on where they stopped, and end in a checkpoint with its figures."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from esm2.catalog import Shape
from training.contacts import Regression, precision, read_structures
from training.evaluate import evaluate
from training.export import export
from training.model import Learner
from training.muon import Muon, orthogonal
from training.recipe import Recipe
from training.train import launch, native_dtype

# Decay so short that a rate never falls: a run of two steps is then the start of one of four.
TINY = Recipe(
    Shape(layers=1, dim=32, heads=2),
    steps=4,
    batches=2,
    batch_tokens=256,
    warmup=1,
    decay=1e-3,
    crops=((0.0, 64),),
)


def train(data, out, processes: int = 1, **changes: object):
    launch(dataclasses.replace(TINY, **changes), data, out, processes)
    return torch.load(out / "state.pt", weights_only=True)


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("straight"))


def assert_same(one, other, atol: float) -> None:
    for name, weight in one["weights"].items():
        assert torch.allclose(weight, other["weights"][name], rtol=0, atol=atol), name


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(data, tmp_path, straight):
    train(data, tmp_path, steps=2)
    resumed = train(data, tmp_path, steps=4)
    assert (
        (resumed["step"], resumed["tokens"]) == (straight["step"], straight["tokens"]) == (4, 2048)
    )
    assert_same(resumed, straight, atol=1e-4)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 4]
    assert {entry["dtype"] for entry in log} == {str(native_dtype()).removeprefix("torch.")}
    assert all(entry["valid_perplexity"] > 1 for entry in log)


def test_two_processes_learn_what_one_learns(data, tmp_path, straight):
    both = train(data, tmp_path, processes=2)
    assert both["tokens"] == straight["tokens"]
    assert_same(both, straight, atol=1e-3)


def test_it_learns(data, tmp_path, straight):
    """A tenth of a nat below where it began, on proteins that it sees again and again."""
    train(data, tmp_path, steps=50, matrix_rate=0.02, other_rate=0.02)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < log[0]["loss"] - 0.1


def test_a_state_of_another_recipe_is_not_gone_on_with(data, tmp_path, capfd):
    train(data, tmp_path, steps=1)
    with pytest.raises(Exception, match="exit code 1"):
        train(data, tmp_path, steps=2, matrix_rate=1e-3)
    assert "is of another recipe" in capfd.readouterr().err


def test_muon_in_bfloat16_is_torchs_to_the_bit():
    start = [torch.randn(shape) for shape in ((8, 32), (32, 8), (16, 16))]
    ours, theirs = ([matrix.clone() for matrix in start] for _ in range(2))
    steps = (
        Muon(ours, 0.02, 0.1, torch.bfloat16),
        torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in steps:
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(8, 32), (32, 8)])
def test_an_update_has_singular_values_near_1(dtype, shape):
    update = orthogonal(torch.randn(shape), dtype)
    assert update.dtype == dtype
    values = torch.linalg.svdvals(update.float())
    assert values.min() > 0.5
    assert values.max() < 1.3


# --- the recipe ----------------------------------------------------------------------------------


def test_the_rate_rises_stays_and_falls_to_nothing():
    recipe = Recipe(TINY.shape, steps=1000, warmup=100, decay=0.4)
    assert recipe.rate(0) == pytest.approx(0.01)
    assert [recipe.rate(step) for step in (99, 300, 600)] == [1, 1, 1]
    assert recipe.rate(800) == pytest.approx(0.5)
    assert recipe.rate(999) == pytest.approx(0.0025)


def test_windows_become_longer_as_it_goes_on():
    recipe = Recipe(TINY.shape, steps=100, crops=((0.0, 128), (0.1, 256), (0.8, 1024)))
    assert [recipe.crop(step) for step in (0, 9, 10, 79, 80, 99)] == [
        128,
        128,
        256,
        256,
        1024,
        1024,
    ]


# --- its figures ---------------------------------------------------------------------------------


def test_a_model_that_knows_nothing_has_perplexity_20(data, tmp_path):
    model = Learner(TINY.shape)
    weights = {name: p.detach() * 0 for name, p in model.named_parameters()}
    export(TINY.shape, weights, tmp_path, Regression(np.zeros(2, dtype=np.float32), -2.0))
    figures = evaluate(data, tmp_path)
    assert figures["masked_perplexity"] == 20.0
    assert figures["pairs"]["mean_real_perplexity"] == 20.0
    assert figures["held_out_proteins"] == 3
    assert figures["masked_residues"] == round(0.15 * 25) + round(0.15 * 60) + round(0.15 * 110)
    assert 15 < figures["frequency_perplexity"] < 25
    assert figures["contacts"]["unseen_structures"] == figures["contacts"]["fitted_on"] == 2


def test_structures_are_read_and_halved_by_name(data):
    fitted_on, unseen = read_structures(data / "structures")
    assert [s.name for s in fitted_on] == ["1aaa_A", "3ccc_A"]
    assert [s.name for s in unseen] == ["2bbb_A", "4ddd_B"]
    for structure in (*fitted_on, *unseen):
        contacts = structure.contacts
        assert contacts.shape == (len(structure.sequence),) * 2
        assert np.array_equal(contacts, contacts.T)
        assert not contacts.diagonal().any()
        assert 0.05 < contacts.mean() < 0.15


def test_precision_counts_the_l_likeliest_long_range_pairs():
    length = 30
    contacts = np.zeros((length, length), dtype=bool)
    near, far = (0, 5), [(0, 24), (1, 29), (2, 28)]
    for i, j in (near, *far):
        contacts[i, j] = contacts[j, i] = True
    pairs = np.triu_indices(length, 24)
    assert len(pairs[0]) == 21, "fewer than L, so that all of them count"
    assert precision(contacts.astype(np.float32), contacts) == (3 / 21, 3 / 21)
    found, random = precision(contacts.astype(np.float32), contacts, separation=1)
    assert (found, random) == (4 / 30, pytest.approx(4 / 435))
