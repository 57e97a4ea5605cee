"""The model that learns and the engine are one model: what is exported gives the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from esm2.alphabet import tokenize
from esm2.catalog import Shape
from esm2.engine.engine import Engine
from esm2.engine.weights import load_checkpoint
from esm2.errors import ContactsUnavailable
from esm2.numerics import FAIR_ESM
from esm2.types import ForwardRequest, Want
from tests.near import assert_near
from tests.proteins import residues
from training.contacts import Regression, attention_maps
from training.export import export
from training.model import Learner

SHAPE = Shape(layers=3, dim=48, heads=4)


@pytest.fixture(scope="module")
def learner() -> Learner:
    """A model none of whose parameters is trivial."""
    torch.manual_seed(5)
    model = Learner(SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def write(learner: Learner, directory: Path, **more: object) -> Path:
    weights = {name: p.detach() for name, p in learner.named_parameters()}
    export(SHAPE, weights, directory, dtype=torch.float32, **more)
    return directory


@pytest.mark.parametrize("masks", [0.0, 0.15, 1.0])
def test_the_engine_gives_the_logits_of_the_model_that_learned(learner, tmp_path, masks):
    engine = Engine.load(write(learner, tmp_path / "c"), "learned", device="cpu")
    rows = [tokenize("".join(residues(62, rare=0.1, masks=masks, seed=s))) for s in range(3)]
    outputs = engine.run([ForwardRequest(tokens, Want(logits=True)) for tokens in rows])
    got = np.stack([own.logits for own in outputs])
    with torch.inference_mode():
        logits = learner(torch.from_numpy(np.stack(rows).astype(np.int64)), torch.arange(3 * 64))
    want = logits.view(3, 64, 33)[:, 1:-1].numpy()
    assert np.abs(want).max() > 1
    assert_near(got, want, FAIR_ESM)


def test_a_fitted_head_gives_the_engine_the_contacts_it_was_fitted_to_give(learner, tmp_path):
    generator = np.random.default_rng(0)
    head = Regression(generator.normal(0, 5, SHAPE.layers * SHAPE.heads).astype(np.float32), -1.5)
    engine = Engine.load(write(learner, tmp_path / "c", contacts=head), "learned", device="cpu")
    sequence = "".join(residues(50, seed=9))
    [outputs] = engine.run([ForwardRequest(tokenize(sequence), Want(contacts=True))])
    model = load_checkpoint(tmp_path / "c", torch.device("cpu")).model
    maps = attention_maps(model, sequence)
    want = 1 / (1 + np.exp(-(head.bias + np.tensordot(head.weight, maps, 1))))
    assert want.std() > 0.01
    assert_near(outputs.contacts, want, FAIR_ESM, "contacts")


def test_a_checkpoint_without_a_head_refuses_contacts(learner, tmp_path):
    engine = Engine.load(write(learner, tmp_path / "c"), "learned", device="cpu")
    with pytest.raises(ContactsUnavailable):
        engine.run([ForwardRequest(tokenize("MK"), Want(contacts=True))])


def test_a_new_model_passes_its_embedding_through():
    """Blocks begin as the identity, so that the first gradients reach everything."""
    torch.manual_seed(0)
    fresh, tokens = Learner(SHAPE), torch.from_numpy(tokenize("MKTAYI").astype(np.int64))[None]
    with torch.inference_mode():
        x = fresh.embedding[tokens]
        angles = torch.zeros(8, 1, SHAPE.head_dim // 2)
        for block in fresh.layers:
            assert torch.equal(block(x, angles.cos(), angles.sin()), x)
