"""The machine: what it is called, how busy it is, and what is installed on it. Linux only."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from ctypes.util import find_library
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

PACKAGES = (
    *("esm2", "torch", "numpy", "safetensors", "fair-esm", "transformers"),
    *("onnxruntime", "onnx", "openvino", "nncf", "esm-cpp"),
)

#: Vendor -> (family, first model, last model, name), as the kernel numbers them.
_GENERATIONS = {
    "AuthenticAMD": (
        (23, 0x00, 0x2F, "zen1"),
        (23, 0x30, 0xFF, "zen2"),
        (25, 0x10, 0x1F, "zen4"),
        (25, 0x60, 0x7F, "zen4"),
        (25, 0xA0, 0xAF, "zen4"),
        (25, 0x00, 0xFF, "zen3"),
        (26, 0x00, 0xFF, "zen5"),
    ),
    "GenuineIntel": (
        (6, 0x4F, 0x4F, "Broadwell"),
        (6, 0x55, 0x55, "Skylake or Cascade Lake"),
        (6, 0x6A, 0x6C, "Ice Lake"),
        (6, 0x8F, 0x8F, "Sapphire Rapids"),
        (6, 0xAD, 0xAE, "Granite Rapids"),
        (6, 0xCF, 0xCF, "Emerald Rapids"),
    ),
}

_TICKS = os.sysconf("SC_CLK_TCK")

ALLOCATORS = ("default", "jemalloc")

# What PyTorch's performance tuning guide says for jemalloc.
_JEMALLOC_SETTINGS = (
    "oversize_threshold:1,background_thread:true,metadata_thp:auto,"
    "dirty_decay_ms:-1,muzzy_decay_ms:-1"
)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def identity() -> dict[str, Any]:
    """What the results file says of the machine; `name` is that of the file."""
    family, model = int(_cpuinfo("cpu family")), int(_cpuinfo("model"))
    brand = _cpuinfo("model name")
    words = re.sub(r"\((R|TM)\)|CPU|@.*|\d+-Core Processor|Processor", " ", brand).split()
    if generation := _generation(family, model):
        words.append(generation)
    return {
        "name": re.sub("[^a-z0-9]+", "-", " ".join([*words, str(cores())]).lower()),
        "cpu": " ".join(words),
        "family": family,
        "model": model,
        "cores": cores(),
        "memory_bytes": memory("MemTotal"),
    }


def memory(field: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def software(allocator: str) -> dict[str, Any]:
    """Everything that a result depends on besides the machine and the command."""
    return {
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "versions": dict(_versions()),
        "commit": _commit(),
        "allocator_environment": allocator_environment(allocator),
    }


def allocator_environment(allocator: str) -> dict[str, str]:
    """The variables that make a process use the allocator.

    Raises:
        FileNotFoundError: it is not installed.
    """
    if allocator == "default":
        return {}
    library = find_library("jemalloc")
    if library is None:
        raise FileNotFoundError("jemalloc is not installed: apt-get install libjemalloc2")
    return {
        "LD_PRELOAD": library,
        "MALLOC_CONF": _JEMALLOC_SETTINGS,
        # OpenVINO's oneTBB otherwise frees jemalloc's memory with glibc (oneTBB issue 1645).
        "TBB_ENABLE_SANITIZERS": "1",
    }


def busy_seconds() -> float:
    """Core-seconds that the machine has worked since it started, those stolen from it included."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, interrupt, soft, steal = map(int, first)
    return (user + nice + system + interrupt + soft + steal) / _TICKS


def busy_seconds_of(process: int) -> float:
    """Core-seconds that a process has worked, all its threads together; 0 where it has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def _cpuinfo(field: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return "0"


def _generation(family: int, model: int) -> str:
    known = _GENERATIONS.get(_cpuinfo("vendor_id"), ())
    rows = (name for own, first, last, name in known if own == family and first <= model <= last)
    return next(rows, "")


def _versions() -> list[tuple[str, str]]:
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit that was measured; its engine may have changes that are not committed."""
    git = ["git", "--no-optional-locks", "-C", ROOT]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    status = [*git, "status", "--porcelain", "--", "src"]
    changes = subprocess.run(status, capture_output=True, text=True, check=False).stdout
    return head.stdout.strip() + (" with changes" if changes.strip() else "")
