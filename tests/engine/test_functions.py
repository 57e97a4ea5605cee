"""The native library's GELU, as its header has it, against that of the C library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import esm2
from tests.natives import native

HEADERS = Path(esm2.__file__).parent / "engine" / "native"
COMPILER = os.environ.get("CXX", "g++")

# Prints the largest error of the fast GELU and of the exact one, for x from -30 to 30.
PROGRAM = """
#include <cmath>
#include <cstdio>

#include "functions.h"

int main() {
  double fast = 0, exact = 0;
  for (int step = -30000; step <= 30000; step++) {
    const float x = step / 1000.0f;
    const double right = 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    alignas(64) float out[W];
    store(out, gelu<false>(broadcast(x)));
    fast = std::fmax(fast, std::fabs(out[0] - right));
    store(out, gelu<true>(broadcast(x)));
    exact = std::fmax(exact, std::fabs(out[0] - right));
  }
  std::printf("%.3g %.3g", fast, exact);
}
"""


@native
@pytest.mark.skipif(not shutil.which(COMPILER), reason="there is no C++ compiler")
def test_gelu_is_as_near_as_is_said(tmp_path):
    (tmp_path / "gelu.cpp").write_text(PROGRAM)
    flags = ["-std=c++17", "-O1", "-mavx2", "-mfma", f"-I{HEADERS}"]
    subprocess.run([COMPILER, *flags, "gelu.cpp", "-o", "gelu"], cwd=tmp_path, check=True)
    told = subprocess.run([tmp_path / "gelu"], capture_output=True, text=True, check=True)
    fast, exact = map(float, told.stdout.split())
    assert fast < 1.4e-4
    assert exact < 3e-6
