"""`esm2 doctor`: what this machine can do, before anyone asks it to."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated

import typer

from esm2 import __version__
from esm2.catalog import CHECKPOINTS, Checkpoint
from esm2.errors import MissingExtra

if TYPE_CHECKING:
    from esm2.types import Want

_PACKAGES = ("torch", "numpy", "safetensors", "huggingface_hub", "fastapi", "uvicorn", "orjson")

# The longest known protein, titin, has 35,991 residues: beyond that, room has no meaning.
_CEILING = 40_000


def doctor(
    device: Annotated[str, typer.Option(help="device to look at: auto, cpu, cuda")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32 (auto), bfloat16, int8 (CPU), float16 (CUDA)")
    ] = "auto",
) -> None:
    """Tell what this machine can do: versions, device, caches, memory, longest sequences."""
    print(f"esm2 {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in _PACKAGES:
        print(f"  {package:<16} {_installed(package)}")
    try:
        from esm2 import hub
        from esm2.engine.device import (
            available_bytes,
            choose_device,
            choose_dtype,
            device_name,
            native_threads,
        )
        from esm2.engine.engine import batch_invariant, kernels_for
        from esm2.engine.native import library
        from esm2.numerics import company
        from esm2.types import BY_LAYER, KINDS, Want
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    where = choose_device(device)
    arithmetic = choose_dtype(dtype, where)
    print(f"\ndevice           {where} ({device_name(where)})")
    print(f"dtype            {arithmetic}")
    print(f"native library   {', '.join(library.instruction_sets()) or 'not here: torch computes'}")
    kernel = kernels_for(CHECKPOINTS[0].shape, where, arithmetic)[0]
    print(f"kernel           {kernel if isinstance(kernel, str) else kernel.name}")
    limits = company(batch_invariant(kernel))
    changed = f"{limits.largest:g} of the largest number at most" if limits.largest else "nothing"
    print(f"company          changes {changed}, whatever else is computed with a sequence")
    print(f"weights cache    {hub.cache_directory()}")
    available = available_bytes(where)
    print(f"memory           {available / 2**30:.1f} GiB free on {where}")
    # BOS takes what the mean takes.
    outputs = {
        kind: Want.of([kind], (1,) if kind in BY_LAYER else ()) for kind in KINDS if kind != "bos"
    }
    print("\nLongest sequence that fits, in residues, one at a time, beside the weights:\n")
    print(f"  {'model':<10} {'weights':>9} " + " ".join(f"{name:>10}" for name in outputs))
    for checkpoint in CHECKPOINTS:
        here = "" if hub.locate(checkpoint) else "  (weights not here)"
        threads = native_threads(checkpoint.shape, where, arithmetic)
        row = _row(checkpoint, threads, available, list(outputs.values()))
        print(f"  {checkpoint.slug:<10} {row}{here}")
    print(
        "\nesm2-demo is inside the package. Official ESM-2 was trained on crops of 1022 residues."
    )


def _row(checkpoint: Checkpoint, threads: int, available: int, wants: list[Want]) -> str:
    from esm2.budget import MemoryModel

    weights = 4 * checkpoint.shape.parameters
    memory = MemoryModel(checkpoint.shape, threads)
    rooms = (memory.longest(want, available - weights, _CEILING) for want in wants)
    cells = (f">= {room:,}" if room == _CEILING else f"{room:,}" for room in rooms)
    return f"{weights / 2**30:>5.2f} GiB " + " ".join(f"{cell:>10}" for cell in cells)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
