"""The tables of docs/performance.md, from every benchmarks/results/speed-*.json.

    python -m benchmarks.speed.table        prints them

For each machine: its peak; then, for each allocator, all medians at a glance, and a table of this
package alone: how much faster it is than each rival, how near to the peak, how exact. The result
files have every single time, and the accuracy of the rivals.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import results
from benchmarks.speed.machine import ALLOCATORS
from benchmarks.speed.results import DIRECTORY, SHAPES, Row
from benchmarks.speed.rivals import OURS
from benchmarks.speed.workloads import WORKLOADS


def _openvino(*names: str) -> tuple[str, ...]:
    return tuple(f"openvino-{name}-{mode}" for name in names for mode in ("latency", "throughput"))


#: Columns of the table at a glance: the best of these engines.
_FAMILIES = {
    "esm2 float32": ("esm2-float32",),
    "bfloat16": ("esm2-bfloat16",),
    "int8": ("esm2-int8",),
    "fair-esm": ("fair-esm",),
    "transformers": ("transformers",),
    "sorted": ("transformers-sorted",),
    "ONNX Runtime": ("onnxruntime",),
    "esm.cpp float32": ("esm.cpp-float32",),
    "esm.cpp int8": ("esm.cpp-int8",),
    "OpenVINO float32": _openvino("float32"),
    "OpenVINO bfloat16": _openvino("bfloat16"),
    "OpenVINO int8": _openvino("int8", "int8-static"),
}

#: Rivals of the second table, beside esm.cpp and OpenVINO in the dtype of the line.
_RIVALS = ("fair-esm", "transformers", "sorted", "ONNX Runtime")

#: Above this share of the machine taken by other programs, a measurement is marked.
_DISTURBED = 0.1


def tables(directory: Path = DIRECTORY) -> str:
    """Markdown for all machines that were measured."""
    parts = []
    for file in sorted(directory.glob("speed-*.json")):
        parts += _machine(json.loads(file.read_text()))
    return "\n\n".join(parts) + "\n"


def _machine(measured: dict[str, Any]) -> list[str]:
    machine, rows, peak = measured["machine"], measured["rows"], measured["peak"]
    newest = max(measured["runs"].values(), key=lambda run: run["date"])
    versions = ", ".join(f"{name} {version}" for name, version in newest["versions"].items())
    parts = [
        f"## {machine['cpu']}, {machine['cores']} cores",
        f"{machine['memory_bytes'] / 1e9:.0f} GB, {newest['system']}, Python {newest['python']},"
        f" {versions}.",
        "What the machine can do at most, GFLOP/s: instructions on registers alone, and torch's"
        " best matrix product at the sizes of each model.",
        _peak(peak),
    ]
    for allocator in ALLOCATORS:
        own = [row for row in rows if row["allocator"] == allocator]
        if own:
            parts += _allocator(allocator, own)
    return parts


def _peak(peak: dict[str, Any]) -> str:
    shapes = [shape for shape in SHAPES if shape in peak["gemm"]]
    lines = [
        [
            dtype,
            _number(peak["registers"].get(dtype, {}).get("gflops"), ".0f"),
            *(_number(results.best_product(peak, shape, dtype), ".0f") for shape in shapes),
        ]
        for dtype in ("float32", "bfloat16", "int8")
    ]
    return _markdown(["dtype", "registers", *(f"products, {shape}" for shape in shapes)], lines)


def _allocator(allocator: str, rows: Sequence[Row]) -> list[str]:
    parts = [
        f"### Allocator: {allocator}",
        "Median seconds, the least in bold; of engines with several modes, the best.",
        _glance(rows),
        "This package: how many times as long a rival takes in the same run (OpenVINO in the same"
        " dtype, in its best mode), and its distance from fair-esm (from its own float32 where"
        " fair-esm did not run). FLOPs are counted without padding; `of peak` is of that of the"
        " dtype on registers. A scan skips what nobody asked for, and AMX computes float32 by"
        " instructions of bfloat16, so their shares may exceed 100 %.",
        _own(rows),
    ]
    if any(_disturbed(row) for row in rows if "median" in row):
        parts.append("\\* other programs took more than 10 % of the machine meanwhile.")
    if refusals := _refusals(rows):
        parts.append("\n".join(["Did not run:", "", *refusals]))
    return parts


def _glance(rows: Sequence[Row]) -> str:
    """A line for each workload and shape, a column for each family of engines."""
    medians: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if "median" in row:
            medians.setdefault((_question(row), row["shape"]), {})[row["engine"]] = row["median"]
    lines = []
    for question in dict.fromkeys(_question(row) for row in sorted(rows, key=_by_workload)):
        for shape in SHAPES:
            if by_engine := medians.get((question, shape)):
                lines.append([question, shape, *_families(by_engine)])
    return _markdown(["workload", "shape", *_FAMILIES], lines)


def _families(medians: Mapping[str, float]) -> list[str]:
    least = min(medians.values())
    cells = []
    for engines in _FAMILIES.values():
        best = min((medians[engine] for engine in engines if engine in medians), default=None)
        cells.append(f"**{_seconds(best)}**" if best == least else _seconds(best))
    return cells


def _own(rows: Sequence[Row]) -> str:
    """A line for each workload, shape and dtype of this package."""
    medians: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        if "median" in row:
            # Ratios are of one run.
            medians.setdefault((_question(row), row["shape"], row["date"]), {})[row["engine"]] = (
                row["median"]
            )
    own = [row for row in rows if row["engine"] in OURS and "median" in row]
    lines = [
        _line(row, medians[_question(row), row["shape"], row["date"]])
        for row in sorted(own, key=_by_workload)
    ]
    columns = ("workload", "shape", "dtype", "seconds", "tokens/s", "GFLOP/s", "of peak")
    errors = ("max abs", "worst cosine")
    return _markdown([*columns, *_RIVALS, "esm.cpp", "OpenVINO", *errors], lines)


def _line(row: Row, medians: Mapping[str, float]) -> list[str]:
    dtype = row["engine"].removeprefix("esm2-")
    families = [_FAMILIES[rival] for rival in _RIVALS]
    families += [_FAMILIES.get(f"{rival} {dtype}", ()) for rival in ("esm.cpp", "OpenVINO")]
    best = [min((medians[e] for e in family if e in medians), default=None) for family in families]
    accuracy, share = row["accuracy"] or {}, row["share_of_peak"]
    exact = accuracy.get("reference") == row["engine"]
    return [
        _question(row),
        row["shape"],
        dtype,
        _seconds(row["median"]) + (" \\*" if _disturbed(row) else ""),
        f"{row['tokens_per_second']:.0f}",
        f"{row['gflops']:.0f}",
        "" if share is None else f"{share:.0%}",
        *("" if one is None else f"{one / row['median']:.2f}x" for one in best),
        "" if exact else _number(accuracy.get("max_abs"), ".1e"),
        "" if exact else _number(accuracy.get("worst_cosine"), ".6f"),
    ]


def _disturbed(row: Row) -> bool:
    return max(row["others"]) > _DISTURBED


def _refusals(rows: Sequence[Row]) -> list[str]:
    """A line for each reason, with the engines and shapes that share it."""
    engines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "did_not_run" in row:
            engines.setdefault((row["did_not_run"], row["shape"]), []).append(row["engine"])
    shapes: dict[tuple[str, str], list[str]] = {}
    for (reason, shape), names in engines.items():
        shapes.setdefault((reason, ", ".join(names)), []).append(shape)
    return [f"- {', '.join(own)}: {names}: {why}" for (why, names), own in shapes.items()]


def _question(row: Row) -> str:
    """The workload, and how much of it was measured."""
    if row["proteins"] == row["whole"]:
        return str(row["workload"])
    return f"{row['workload']}, first {row['proteins']} of {row['whole']}"


def _by_workload(row: Row) -> int:
    return list(WORKLOADS).index(row["workload"])


def _seconds(value: float | None) -> str:
    """Three digits that count."""
    return "" if value is None else f"{value:#.3g}".rstrip(".")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---", "---", *["---:"] * (len(header) - 2)], *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=DIRECTORY, help="where the files are")
    print(tables(parser.parse_args().results), end="")


if __name__ == "__main__":
    main()
