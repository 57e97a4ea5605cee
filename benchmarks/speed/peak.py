"""What the machine can do at most: the yardstick beside every result.

    registers   multiply-add instructions on registers alone, from registers.cpp; no program on the
                machine can be faster, but in float32 by the matrix unit of AMX (in three bfloat16)
    gemm        torch's best matrix products at the sizes of a model: what a library reaches

    python -m benchmarks.speed.peak [SHAPE ..]      prints one JSON object, GFLOP/s

Both use all cores and take the best of several runs: others can only make it slower. Without a C++
compiler, or on another architecture, `registers` is empty.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esm2.catalog import find

_TOKENS = 1024
_SECONDS = 0.2  # of each measurement

Product = Callable[[], object]


def registers() -> dict[str, Any]:
    """dtype -> gflops, the most; and gflops_by_chains, which stay level unless latency limits."""
    compiler = shutil.which("g++")
    if compiler is None or platform.machine() != "x86_64":
        return {}
    source = Path(__file__).with_name("registers.cpp")
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "registers"
        flags = ["-std=c++17", "-O2", "-pthread"]
        subprocess.run([compiler, *flags, source, "-o", program], check=True)
        printed = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {
        dtype: {"gflops": max(by_chains.values()), "gflops_by_chains": by_chains}
        for dtype, by_chains in json.loads(
            printed, parse_float=lambda n: round(float(n), 1)
        ).items()
    }


def gemm(dim: int) -> dict[str, dict[str, dict[str, float]]]:
    """dtype -> kernel -> "inputs x outputs" -> GFLOP/s, of the four products of a layer."""
    sizes = ((dim, 3 * dim), (dim, dim), (dim, 4 * dim), (4 * dim, dim))
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for inputs, outputs in sizes:
        for (dtype, kernel), product in _products(inputs, outputs):
            gflops = 2 * _TOKENS * inputs * outputs / _best_seconds(product) / 1e9
            by_size = measured.setdefault(dtype, {}).setdefault(kernel, {})
            by_size[f"{inputs} x {outputs}"] = round(gflops, 1)
    return measured


def _products(inputs: int, outputs: int) -> list[tuple[tuple[str, str], Product]]:
    """(dtype, kernel), product: of everything that this torch has on this machine."""
    import torch

    torch.manual_seed(0)
    x, weight = torch.randn(_TOKENS, inputs), torch.randn(outputs, inputs)
    candidates = [
        *(
            (dtype, kernel, build, x.to(getattr(torch, dtype)), weight.to(getattr(torch, dtype)))
            for dtype in ("float32", "bfloat16")
            for kernel, build in (("F.linear", _linear), ("mkldnn prepacked", _prepacked))
        ),
        *(
            ("int8", kernel, build, x.mul(40).to(torch.int8), weight.mul(40).to(torch.int8))
            for kernel, build in (("_int_mm", _int_mm), ("onednn qlinear", _qlinear))
        ),
    ]
    products = []
    for dtype, kernel, build, left, right in candidates:
        try:
            product = build(left, right)
            product()
        except (AttributeError, NotImplementedError, RuntimeError):
            continue  # not in this build of torch, or not for this processor
        products.append(((dtype, kernel), product))
    return products


def _linear(x: Any, weight: Any) -> Product:
    from torch.nn.functional import linear

    return lambda: linear(x, weight)


def _prepacked(x: Any, weight: Any) -> Product:
    import torch

    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _TOKENS)
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def _int_mm(x: Any, weight: Any) -> Product:
    import torch

    transposed = weight.t()
    return lambda: torch._int_mm(x, transposed)


def _qlinear(x: Any, weight: Any) -> Product:
    """Unsigned activations and signed weights with a scale each, float32 out."""
    import torch

    packed = torch.ops.onednn.qlinear_prepack(weight, list(x.shape))
    activations = x.to(torch.uint8)
    scales, zeros = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int64)
    output = (None, 1.0, 0, torch.float32, "none", [], "")
    return lambda: torch.ops.onednn.qlinear_pointwise(
        activations, 1.0, 0, packed, scales, zeros, *output
    )


def _best_seconds(product: Product) -> float:
    best, until = float("inf"), time.perf_counter() + _SECONDS
    while (started := time.perf_counter()) < until:
        product()
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    import torch

    with torch.inference_mode():
        products = {name: gemm(find(f"esm2-{name}").shape.dim) for name in sys.argv[1:]}
    print(json.dumps({"registers": registers(), "gemm": products}))


if __name__ == "__main__":
    main()
