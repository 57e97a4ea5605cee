"""Devices and dtypes: what was asked for -> what is used, or a refusal; never another instead."""

from __future__ import annotations

import platform

import torch

from esm2 import budget
from esm2.catalog import Shape
from esm2.engine.native import library
from esm2.errors import SettingsError

#: Those that torch computes in; int8 is the native library's alone.
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def choose_device(name: str) -> torch.device:
    """Resolve a device setting.

    Args:
        name: "auto" (cuda when there is one), "cpu", "cuda", "cuda:1".

    Raises:
        SettingsError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"{name!r} is not a device; use auto, cpu or cuda", "device") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"device {name!r} is not supported; use auto, cpu or cuda", "device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SettingsError(
            f"device {name!r} is not here: torch sees {count} CUDA devices", "device"
        )
    return device


def choose_dtype(name: str, device: torch.device) -> str:
    """Resolve a dtype setting: float32 is what auto means.

    Raises:
        SettingsError: the engine does not compute in it on this device.
    """
    if name == "auto":
        return "float32"
    if name not in (*DTYPES, "int8"):
        raise SettingsError(
            f"dtype {name!r} is not supported; use auto, {', '.join(DTYPES)}, int8", "dtype"
        )
    if name == "float16" and device.type == "cpu":
        raise SettingsError(
            "dtype 'float16' is for CUDA; on the CPU bfloat16 is the fast one", "dtype"
        )
    return name


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16; where that is emulated, float32 is faster."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(has) and torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def device_name(device: torch.device) -> str:
    """What the device is, for a person."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {cpu_threads()} threads"


def cpu_threads() -> int:
    """Threads that compute: torch's choice (cores, or OMP_NUM_THREADS), within what is granted."""
    return budget.granted_cpus(torch.get_num_threads())


def available_bytes(device: torch.device) -> int:
    """Memory that is free now on the device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return budget.free_bytes()


def native_threads(shape: Shape, device: torch.device, dtype: str) -> int:
    """The threads of the native library for such a model; 0 where torch computes it."""
    native = device.type == "cpu" and library.available(shape, dtype)
    return cpu_threads() if native else 0
