"""Whole attention maps of chosen layers and heads, by every kernel of this machine.

That two of them equal fair-esm's and transformers' in every shape, at every length and in any
company is tested where the other outputs are: `everything` of tests/oracles.py asks for them.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EsmForMaskedLM

from esm2.alphabet import tokenize
from esm2.budget import MemoryModel, cost, reply_bytes
from esm2.catalog import Shape
from esm2.engine import onednn
from esm2.engine.engine import Engine
from esm2.numerics import TRANSFORMERS
from esm2.types import Float, ForwardRequest, Want
from tests.checkpoints import random_fair_esm, save_hf
from tests.natives import KERNELS
from tests.near import assert_near, assert_same
from tests.proteins import residues

SHAPE = Shape(3, 96, 4)
TOKENS = tokenize("".join(residues(70)))
EVERY = tuple(product(range(1, SHAPE.layers + 1), range(SHAPE.heads)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_fair_esm(SHAPE.layers, SHAPE.dim, SHAPE.heads, seed=5)
    return save_hf(model, tmp_path_factory.mktemp("maps") / "c")


@pytest.fixture(
    scope="module",
    params=[*KERNELS, *([onednn.KERNEL] if onednn.available() else []), "torch-sdpa"],
)
def engine(request: pytest.FixtureRequest, checkpoint: Path) -> Engine:
    return Engine.load(checkpoint, "maps", device="cpu", kernel=request.param)


def maps(engine: Engine, want: Want) -> Float:
    (outputs,) = engine.run([ForwardRequest(TOKENS, want)])
    assert outputs.maps is not None
    return outputs.maps


def test_every_map_is_that_of_transformers_between_residues(
    checkpoint: Path, engine: Engine
) -> None:
    theirs = EsmForMaskedLM.from_pretrained(checkpoint, attn_implementation="eager").eval()
    ids = torch.from_numpy(TOKENS.astype(np.int64))[None]
    with torch.inference_mode():
        raw = theirs(ids, attention_mask=torch.ones_like(ids), output_attentions=True).attentions
    found = maps(engine, Want(maps=EVERY))
    assert (found.shape, found.dtype) == ((12, 70, 70), np.float32)
    for (layer, head), own in zip(EVERY, found, strict=True):
        assert_near(own, raw[layer - 1][0, head, 1:-1, 1:-1].numpy(), TRANSFORMERS)


def test_a_map_is_the_same_alone_and_with_all_the_others_in_any_order(engine: Engine) -> None:
    together = dict(zip(EVERY, maps(engine, Want(maps=EVERY)), strict=True))
    some = ((3, 3), (1, 2), (2, 0))
    for asked, own in zip(some, maps(engine, Want(maps=some)), strict=True):
        assert_same(own, together[asked])
        assert_same(maps(engine, Want(maps=(asked,)))[0], together[asked])
    with_more = Want((0, 3), mean=True, logits=True, contacts=True, attentions=True, maps=some)
    for asked, own in zip(some, maps(engine, with_more), strict=True):
        assert_same(own, together[asked])


def test_maps_run_no_deeper_than_the_last_layer_asked_for() -> None:
    assert Want(maps=((2, 0), (1, 3))).depth(33) == 2
    assert Want((3,), mean=True, maps=((2, 0),)).depth(33) == 3
    assert Want(contacts=True, maps=((2, 0),)).depth(33) == 33


@pytest.mark.parametrize("threads", [0, 4])
def test_memory_is_that_of_the_maps_asked_for(threads: int) -> None:
    memory, shape = MemoryModel(Shape(33, 1280, 20), threads), Shape(33, 1280, 20)
    one, four = Want(maps=((1, 0),)), Want(maps=((1, 0), (1, 1), (33, 0), (33, 1)))
    assert memory.peak(four, 1000) - memory.peak(one, 1000) == 3 * 4 * 1000**2
    assert memory.peak(one, 1000) < memory.peak(Want(attentions=True), 1000) + 4 * 1000**2 + 1
    assert reply_bytes(four, 1000, shape) == 4 * 4 * 1000**2
    asked = [ForwardRequest(TOKENS, want) for want in (one, four, Want(contacts=True))]
    assert len({cost(request, shape) for request in asked}) == 1
