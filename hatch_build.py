"""Builds the native library into the package, where there is a C++ compiler for x86-64 Linux.

    pip install . | pip wheel .     through the hook below
    python hatch_build.py           for people who change src/esm2/engine/native
    python hatch_build.py -fsanitize=address,undefined -g      any flags to add

Without a compiler the package is complete but for that library, and its torch path computes.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path(__file__).parent / "src" / "esm2" / "engine" / "native"
LIBRARY = NATIVE / "libesm2.so"

_FLAGS = shlex.split(
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=fast -pthread"
    # GCC 12 takes its own _mm512_undefined_ps() for a mistake; vectors as template arguments.
    " -Wall -Wextra -Wno-uninitialized -Wno-maybe-uninitialized -Wno-ignored-attributes"
)
_AVX512 = "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512"
_INSTRUCTION_SETS = {
    "avx2": "-mavx2 -mfma",
    "avx512": _AVX512,
    "avx512bf16": f"{_AVX512} -mavx512bf16",
    "amx": f"{_AVX512} -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8",
}


class NativeLibrary(BuildHookInterface):
    """Compiles before the wheel is put together; a failure is a warning, not an error."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        if self.target_name != "wheel":
            return
        LIBRARY.unlink(missing_ok=True)
        if reason := _cannot_build():
            self.app.display_warning(f"no native library: {reason}")
            return
        try:
            build([])
        except subprocess.CalledProcessError as error:
            self.app.display_warning(f"no native library: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        build_data["artifacts"].append(str(LIBRARY.relative_to(Path(__file__).parent)))


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


def _cannot_build() -> str:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "it is for Linux on x86-64"
    return "" if shutil.which(_compiler()) else f"there is no C++ compiler ({_compiler()})"


def build(more_flags: list[str]) -> None:
    """Compile each instruction set's kernels and link them into one library.

    Raises:
        CalledProcessError: the compiler said no.
    """
    flags = [*_FLAGS, *more_flags]
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as pool:
        objects = [Path(temporary) / f"{name}.o" for name in (*_INSTRUCTION_SETS, "library")]
        sources = [
            [*shlex.split(isa), f"-DSUFFIX={name}", NATIVE / "kernels.cpp"]
            for name, isa in _INSTRUCTION_SETS.items()
        ]
        sources.append([NATIVE / "library.cpp"])
        jobs = [
            pool.submit(_run, [*flags, "-c", *source], target)
            for source, target in zip(sources, objects, strict=True)
        ]
        for job in jobs:
            job.result()
        linking = ["-shared", "-s", *flags, *objects]
        partial = Path(temporary) / LIBRARY.name
        _run(linking, partial)
        # A new file: a process that has the old one mapped keeps it.
        LIBRARY.unlink(missing_ok=True)
        shutil.copyfile(partial, LIBRARY)


def _run(arguments: list[Any], output: Path) -> None:
    subprocess.run([_compiler(), *arguments, "-o", output], check=True)  # noqa: S603


if __name__ == "__main__":
    build(sys.argv[1:])
