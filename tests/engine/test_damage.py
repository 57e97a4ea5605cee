"""Damaged and hostile checkpoints: one sentence, never an answer, and nothing foreign is run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from esm2.alphabet import tokenize
from esm2.errors import CheckpointError, NotFinite
from esm2.types import ForwardRequest, Want
from tests.checkpoints import (
    save_fair_esm,
    save_hf,
)
from tests.loading import LAYER, MODEL, live_tensors, load, refusal, write_with
from tests.oracles import KINDS

# --- damaged files ------------------------------------------------------------------------------


def _empty(content: bytes) -> bytes:
    return b""


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _cut_short(content: bytes) -> bytes:
    return content[:-3]


def _garbage(content: bytes) -> bytes:
    return bytes(range(256)) * 40


def _web_page(content: bytes) -> bytes:
    return b"<!doctype html><title>404</title>"


@pytest.mark.parametrize("damage", [_empty, _cut, _cut_short, _garbage, _web_page])
@pytest.mark.parametrize(
    "file", ["model.safetensors", "pytorch_model.bin", "esm2.pt", "esm2-contact-regression.pt"]
)
def test_a_damaged_file_is_an_error_that_names_it(
    tmp_path: Path, file: str, damage: Callable[[bytes], bytes]
) -> None:
    container = "bin" if file.endswith("bin") else "safetensors"
    save_hf(MODEL, tmp_path, container=container)
    pt = save_fair_esm(MODEL, tmp_path / "esm2.pt")
    damaged = tmp_path / file
    damaged.write_bytes(damage(damaged.read_bytes()))
    assert file in refusal(pt if file.endswith("pt") else tmp_path)


# --- nothing foreign is executed -----------------------------------------------------------------


class Bomb:
    """Unpickled, it makes a directory: the proof that code ran."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self._target,)


@pytest.mark.parametrize("file", ["esm2.pt", "esm2-contact-regression.pt", "pytorch_model.bin"])
@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(
    tmp_path: Path, file: str, how: str
) -> None:
    save_hf(MODEL, tmp_path, container="bin")
    pt = save_fair_esm(MODEL, tmp_path / "esm2.pt")
    target = tmp_path / "executed"
    if how == "pickle":
        (tmp_path / file).write_bytes(pickle.dumps({"model": Bomb(target)}, protocol=2))
    else:
        torch.save({"model": Bomb(target)}, tmp_path / file)
    assert file in refusal(pt if file.endswith("pt") else tmp_path)
    assert not target.exists()


def test_the_bomb_of_these_tests_is_alive(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


# --- numbers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [f"{LAYER}.attention.self.key.bias", f"{LAYER}.output.dense.bias"])
def test_weights_that_are_no_numbers_never_give_an_answer(
    tmp_path: Path, name: str, kind: str, number: float
) -> None:
    broken = live_tensors()[name].clone()
    broken[5] = number
    path = write_with(tmp_path / "hf", **{name: broken})
    request = ForwardRequest(tokenize("MKT"), Want(layers=(3,), **{kind: True}))
    with pytest.raises((CheckpointError, NotFinite)):
        load(path).run([request])


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_overflow_give_an_error_that_names_the_output(
    tmp_path: Path, kind: str
) -> None:
    huge = {f"{LAYER}.output.dense.bias": torch.full((48,), 3e38)}
    engine = load(write_with(tmp_path / "hf", **huge))
    request = ForwardRequest(tokenize("MKT"), Want(layers=(3,), **{kind: True}))
    with pytest.raises(NotFinite, match=kind):
        engine.run([request])
