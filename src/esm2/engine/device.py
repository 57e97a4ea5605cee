"""Devices and dtypes: what was asked for -> what is used, or a refusal; never another instead."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from esm2.errors import SettingsError

DTYPES = {"float32": torch.float32}


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
        raise SettingsError(f"{name!r} is not a device; use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"device {name!r} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SettingsError(f"device {name!r} is not here: torch sees {count} CUDA devices")
    return device


def choose_dtype(name: str) -> str:
    """Resolve a dtype setting: float32 is what auto means.

    Raises:
        SettingsError: the engine does not compute in it.
    """
    if name == "auto":
        return "float32"
    if name not in DTYPES:
        raise SettingsError(f"dtype {name!r} is not supported; use auto or float32")
    return name


def device_name(device: torch.device) -> str:
    """What the device is, for a person."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.processor() or platform.machine()}, {threads} threads"


def available_bytes(device: torch.device) -> int:
    """Memory that is free now on the device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")  # counts reclaimable cache as free, which sysconf does not
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
