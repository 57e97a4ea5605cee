"""The native library against the torch path: every kernel of this machine, every output."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from esm2 import numerics
from esm2.alphabet import MASK, tokenize
from esm2.catalog import Shape
from esm2.engine.device import has_bfloat16
from esm2.engine.engine import Engine
from esm2.engine.native import library
from esm2.engine.native.model import NativeESM2
from esm2.engine.weights import load_checkpoint
from esm2.errors import SettingsError
from esm2.types import ForwardRequest, Outputs, Want
from tests.checkpoints import random_fair_esm, save_hf
from tests.natives import KERNELS, native
from tests.near import Arrays, differences
from tests.oracles import everything, flat
from tests.proteins import residues

#: Every head_dim that the library knows, and a dimension that does not fill a tile of rows.
SHAPES = {16: (2, 64, 4), 24: (2, 96, 4), 32: (3, 96, 3), 64: (2, 128, 2)}

#: Around its vectors, its blocks of 16 or 32 queries and its chunks of 128 or 256.
LENGTHS = (1, 2, 5, 14, 29, 30, 31, 61, 127, 255, 256, 300)


#: Kernel and dtype. torch fails at attention in bfloat16 where ATEN_CPU_CAPABILITY holds AMX back.
ROUNDED = [
    *([("torch-sdpa", "bfloat16")] * (has_bfloat16() or not torch.cpu._is_amx_tile_supported())),
    *(
        (kernel.name, dtype)
        for dtype in ("bfloat16", "int8")
        for kernel in library.available(Shape(*SHAPES[32]), dtype)
    ),
]


@functools.cache
def checkpoint(head_dim: int, root: Path) -> Path:
    return save_hf(random_fair_esm(*SHAPES[head_dim], seed=head_dim), root / str(head_dim))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("native")


def engine(path: Path, kernel: str, dtype: str = "float32") -> Engine:
    loaded = Engine.load(path, "random", device="cpu", kernel=kernel, dtype=dtype)
    assert loaded.decided.kernel == kernel
    return loaded


def requests(layers: int, lengths: tuple[int, ...] = LENGTHS) -> list[ForwardRequest]:
    """Sequences with a mask each, which want everything; every third wants no maps."""
    asked = []
    for index, length in enumerate(lengths):
        letters = residues(length)
        letters[length // 2] = "<mask>"
        want = everything(layers)
        if index % 3 == 2:
            want = Want(want.layers, mean=True, per_token=True, bos=True, logits=True)
        asked.append(ForwardRequest(tokenize("".join(letters)), want))
    return asked


def run(loaded: Engine, asked: list[ForwardRequest]) -> list[Arrays]:
    return [flat(outputs) for outputs in loaded.run(asked)]


@native
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("head_dim", SHAPES)
def test_float32_equals_torch_in_every_output(root: Path, head_dim: int, kernel: str) -> None:
    path = checkpoint(head_dim, root)
    asked = requests(SHAPES[head_dim][0])
    ours = run(engine(path, kernel), asked)
    reference = run(engine(path, "torch-sdpa"), asked)
    for length, own, expected in zip(LENGTHS, ours, reference, strict=True):
        assert own.keys() == expected.keys()
        wrong = differences(own, expected, numerics.PROCESSOR)
        assert not wrong, f"{length} residues:\n" + "\n".join(wrong)


@native
@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [(k, d) for k, d in (*((k, "float32") for k in KERNELS), *ROUNDED) if k in KERNELS],
)
def test_a_sequence_has_the_same_bits_in_any_company_and_with_any_threads(
    root: Path, kernel: str, dtype: str
) -> None:
    path, layers = checkpoint(24, root), SHAPES[24][0]
    asked = requests(layers)
    loaded = engine(path, kernel, dtype)
    alone = [run(loaded, [request])[0] for request in asked]
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        loaded = engine(path, kernel, dtype)
        for own, expected in zip(run(loaded, asked), alone, strict=True):
            assert all(np.array_equal(own[name], expected[name]) for name in expected)


@contextmanager
def going_ahead(
    loaded: Engine, long: ForwardRequest, rows: int, patched: pytest.MonkeyPatch
) -> Iterator[tuple[Future[list[Outputs]], list[torch.Tensor]]]:
    """A pass that has begun, and what it keeps: a layer is finite once it is there."""
    # How far it is, its buffers tell: its residual stream, and then each layer that it keeps.
    made: list[torch.Tensor] = []

    def empty(*shape: int, **how: torch.dtype) -> torch.Tensor:
        new = torch.zeros(shape, **how) if how else torch.full(shape, torch.nan)
        if shape == (rows, SHAPES[32][1]):
            made.append(new)
        return new

    kept: list[torch.Tensor] = []
    with patched.context() as own, ThreadPoolExecutor(1) as pool:
        own.setattr(torch, "empty", empty)
        ahead = pool.submit(loaded.run, [long], ahead=True)
        while not (ahead.done() or (made and bool(made[0].isfinite().any()))):
            pass
        kept += made[1:]
        assert len(kept) == 1 + SHAPES[32][0]
        yield ahead, kept


@native
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_pass_stops_for_one_that_goes_ahead_and_both_give_the_same_bits(
    root: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = engine(checkpoint(32, root), kernel)
    long, short = requests(SHAPES[32][0], (1500, 5))  # of the first, everything
    alone = [run(loaded, [long])[0], run(loaded, [short])[0]]
    with going_ahead(loaded, long, 1502, monkeypatch) as (ahead, kept):
        behind = loaded.run([short])
        assert all(bool(layer.isfinite().all()) for layer in kept), "it did not stop"
        (before,) = ahead.result()
    for own, expected in zip((before, behind[0]), alone, strict=True):
        given = flat(own)
        assert all(np.array_equal(given[name], expected[name]) for name in expected)


@native
@pytest.mark.parametrize("kernel", KERNELS)
def test_so_does_the_language_head_behind_a_pass(
    root: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint(32, root)
    loaded = engine(path, kernel)
    (kernels,) = (
        own for own in library.available(Shape(*SHAPES[32]), "float32") if own.name == kernel
    )
    model = NativeESM2(load_checkpoint(path, torch.device("cpu")).model, kernels, threads=2)
    hidden = torch.ones(64, SHAPES[32][1])
    alone = model.language_head(hidden)
    (long,) = requests(SHAPES[32][0], (1500,))
    with going_ahead(loaded, long, 1502, monkeypatch) as (_, kept):
        behind = model.language_head(hidden)
        assert all(bool(layer.isfinite().all()) for layer in kept), "it did not stop"
    assert torch.equal(behind, alone)


@native
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_last_layer_is_computed_only_where_it_is_wanted_and_gives_the_same_bits(
    root: Path, kernel: str, threads: int
) -> None:
    path, layers = checkpoint(24, root), SHAPES[24][0]
    asked = requests(layers)
    torch.set_num_threads(threads)
    loaded = engine(path, kernel)
    whole = run(loaded, asked)
    wants = (
        Want(logits=True, masks_only=True),
        Want(layers=(layers,), bos=True),
        Want(layers=(layers - 1,), mean=True),
        Want(contacts=True),
    )
    given = [ForwardRequest(r.tokens, wants[i % 4]) for i, r in enumerate(asked)]
    for i, (own, full, request) in enumerate(zip(run(loaded, given), whole, asked, strict=True)):
        (name,) = own
        expected = full.get(name)
        if name == "logits":
            masked = request.tokens[1:-1] == MASK
            assert np.array_equal(own[name], full[name][masked])
            assert len(own[name]) == 1
        elif expected is not None:
            assert np.array_equal(own[name], expected)
        else:
            assert i % 3 == 2, "only every third has no maps to compare with"


@pytest.mark.parametrize(("kernel", "dtype"), ROUNDED)
def test_other_dtypes_are_near_float32(root: Path, kernel: str, dtype: str) -> None:
    path, layers = checkpoint(32, root), SHAPES[32][0]
    asked = requests(layers, (30, 100, 300))
    exact = run(engine(path, "torch-sdpa"), asked)
    for own, expected in zip(run(engine(path, kernel, dtype), asked), exact, strict=True):
        errors = {
            name: np.linalg.norm(own[name] - expected[name]) / np.linalg.norm(expected[name])
            for name in expected
        }
        assert max(errors.values()) < numerics.ROUNDED[dtype], errors
        assert errors[f"mean {layers}"] > 1e-5, "it is float32 after all"


def test_a_model_that_the_library_does_not_know_is_computed_by_torch(tmp_path: Path) -> None:
    odd = save_hf(random_fair_esm(1, 40, 2, seed=1), tmp_path / "odd")
    assert Engine.load(odd, "odd", device="cpu").decided.kernel in ("torch-onednn", "torch-sdpa")
    with pytest.raises(SettingsError, match="kernel 'native-avx2' cannot be used for"):
        Engine.load(odd, "odd", device="cpu", kernel="native-avx2")


def test_dtypes_that_a_device_does_not_have_are_refused(root: Path) -> None:
    path = checkpoint(16, root)
    with pytest.raises(SettingsError, match="'float16' is for CUDA"):
        Engine.load(path, "random", device="cpu", dtype="float16")
    with pytest.raises(SettingsError, match="'int4' is not supported"):
        Engine.load(path, "random", device="cpu", dtype="int4")
    with pytest.raises(SettingsError, match=r"cannot be used for|only by the native library"):
        Engine.load(path, "random", device="cpu", dtype="int8", kernel="torch-sdpa")


def test_bfloat16_is_refused_where_it_would_be_slower_than_float32(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint(16, root)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(SettingsError, match=r"no instructions for bfloat16.*use float32"):
        Engine.load(path, "random", device="cpu", dtype="bfloat16")
    kept = Engine.load(path, "random", device="cpu", dtype="bfloat16", kernel="torch-sdpa")
    assert kept.decided.dtype == "bfloat16"


def test_int8_is_refused_where_the_library_cannot(tmp_path: Path) -> None:
    odd = save_hf(random_fair_esm(1, 40, 2, seed=1), tmp_path / "odd")
    with pytest.raises(SettingsError, match=r"only by the native library.*AVX-512 VNNI"):
        Engine.load(odd, "odd", device="cpu", dtype="int8")
