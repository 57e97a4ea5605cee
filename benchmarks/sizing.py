"""The tables of docs/deploy.md: what a device does, and how long requests wait at many.

benchmarks/results/speed-*.json, `esm2.budget.work`  -> devices()
benchmarks/results/queueing.json                     -> waits()
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.queueing import RESULT, WAYS, operations, row_of, shape_of
from benchmarks.speed.results import DIRECTORY, SHAPES
from benchmarks.speed.workloads import find

_DTYPES = ("float32", "bfloat16", "int8")
_MANY = 10_000_000  # residues: about a human proteome


def devices() -> str:
    """Markdown: residues a second of each machine that was measured, by model and dtype."""
    files = sorted(DIRECTORY.glob("speed-*.json"))
    return "\n".join(_device(json.loads(file.read_text())) for file in files)


def _device(measured: dict[str, Any]) -> str:
    machine = measured["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; mean embeddings of proteins of UniProt-like"
        " lengths (`mix` in [performance](performance.md)):",
        "",
        "| model | weights, GB | GFLOP a residue | residues/s, float32 | bfloat16 | int8 |"
        f" {_MANY // 1_000_000} million residues, bfloat16 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lengths = np.array([len(protein) for protein in find("mix").proteins])
    for name in SHAPES:
        shape = shape_of(name)
        each = float(operations(lengths, shape).sum() / lengths.sum())
        speeds = [_speed(measured, name, dtype, each) for dtype in _DTYPES]
        cells = [f"{about}{speed:,.0f}" if speed else "" for speed, about in speeds]
        speed, about = speeds[_DTYPES.index("bfloat16")]
        took = f"{about}{_rounded(_MANY / speed / 3600)} h" if speed else ""
        weights = f"{4 * shape.parameters / 1e9:.2g}"
        lines.append(
            f"| esm2-{name.lower()} | {weights} | {each / 1e9:.2g} | {' | '.join(cells)} | {took} |"
        )
    lines += [
        "",
        "≈: only one short protein was measured (`short`), and the cost model did the rest.",
    ]
    return "\n".join(lines) + "\n"


def _speed(measured: dict[str, Any], name: str, dtype: str, each: float) -> tuple[float, str]:
    """Residues a second, 0 where nothing was measured, and the sign before what is an estimate.

    Args:
        each: operations a residue.
    """
    if row := row_of(measured, name, "mix", f"esm2-{dtype}"):
        return (row["tokens"] - 2 * row["proteins"]) / row["median"], ""
    if row := row_of(measured, name, "short", f"esm2-{dtype}"):
        return row["flops"] / row["median"] / each, "≈ "
    return 0.0, ""


def _rounded(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"


def waits() -> str:
    """Markdown: how long requests wait, by devices and load."""
    result = json.loads(RESULT.read_text())
    ways = " | ".join(f"{way}: p50, p99 s" for way in WAYS)
    lines = [
        f"`{result['command']}`: {result['requests']:,} requests a line, each one protein of the"
        f" same lengths, at random times. A device is the one measured above with esm2-"
        f"{result['model'].lower()} in {result['engine'].removeprefix('esm2-')}, where a request"
        f" takes {_mean_seconds(result):.2f} s on average. Seconds until it begins:",
        "",
        f"| devices | load | residues/s | {ways} |",
        "|---:|---:|---:|" + "---:|" * len(WAYS),
    ]
    for own in result["cells"]:
        cells = [f"{own['waits'][way]['p50']:.2f}, {own['waits'][way]['p99']:.2f}" for way in WAYS]
        row = (f"{own['devices']}", f"{own['load']:.0%}", f"{own['residues_per_second']:,}", *cells)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _mean_seconds(result: dict[str, Any]) -> float:
    lengths = np.array([len(protein) for protein in find("mix").proteins])
    work = operations(lengths, shape_of(result["model"])).mean()
    return float(result["lone_seconds"] + work / result["operations_per_second"])
