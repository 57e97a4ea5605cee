"""The kernels of the native library that this machine can run."""

from __future__ import annotations

import pytest

from esm2.engine.native.library import instruction_sets

KERNELS = [f"native-{isa}" for isa in instruction_sets()]

native = pytest.mark.skipif(not KERNELS, reason="the native library is not here (hatch_build.py)")
