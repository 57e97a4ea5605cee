"""The results of one machine: a file that several runs fill, row by row.

    speed-amd-epyc-zen5-2.json
      machine   what it is
      peak      the most that was ever measured, GFLOP/s
      runs      date -> command, system, versions: of every run that a row is left of
      rows      one for each shape, workload, allocator and engine: the newest

A peak is a maximum, so a run that measures more of it raises it, for the rows of earlier runs too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.speed.machine import ALLOCATORS
from benchmarks.speed.rivals import ENGINES
from benchmarks.speed.workloads import WORKLOADS

DIRECTORY = Path(__file__).parents[1] / "results"

#: Shapes as people call them, smallest first; "esm2-" before it is the slug.
SHAPES = ("8M", "35M", "150M", "650M", "3B")

Row = dict[str, Any]


def file_of(machine_name: str, directory: Path = DIRECTORY) -> Path:
    return directory / f"speed-{machine_name}.json"


def read(file: Path) -> dict[str, Any]:
    """The results so far; those of a machine never measured are empty."""
    if not file.exists():
        return {"machine": {}, "peak": {}, "runs": {}, "rows": []}
    results: dict[str, Any] = json.loads(file.read_text())
    return results


def merge(
    file: Path, machine: dict[str, Any], peak: dict[str, Any], run: dict[str, Any], rows: list[Row]
) -> None:
    """Add a run's rows, in place of the older ones of the same key.

    Args:
        run: with its "date"; each row gets it, and the command.
    """
    results = read(file)
    known = {_key(row): row for row in results["rows"]}
    for row in rows:
        known[_key(row)] = {**row, "command": run["command"], "date": run["date"]}
    results["machine"] = machine
    results["peak"] = _highest(results["peak"], peak)
    results["rows"] = sorted(known.values(), key=_place)
    for row in results["rows"]:
        _set_shares(row, results["peak"])
    dates = {row["date"] for row in results["rows"]}
    runs = results["runs"] | {run["date"]: run}
    results["runs"] = {date: runs[date] for date in sorted(dates)}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(file)


def peak_of(peak: dict[str, Any], dtype: str) -> float | None:
    """The machine's peak, GFLOP/s: of registers alone, or of the best product if that is more.

    A product can be more where there is a matrix unit (AMX), or no compiler.
    """
    registers = peak["registers"].get(dtype)
    products = (shape.get(dtype, {}) for shape in peak["gemm"].values())
    found = [best for product in products if (best := _best(product)) is not None]
    return max([*found, *([registers["gflops"]] if registers else [])], default=None)


def best_product(peak: dict[str, Any], shape: str, dtype: str) -> float | None:
    """The best matrix product at the sizes of a shape, GFLOP/s."""
    return _best(peak["gemm"].get(shape, {}).get(dtype, {}))


def _best(product: dict[str, dict[str, float]]) -> float | None:
    """The best of kernel -> size -> GFLOP/s."""
    return max((most for sizes in product.values() for most in sizes.values()), default=None)


def _set_shares(row: Row, peak: dict[str, Any]) -> None:
    if "gflops" not in row:
        return
    dtype = ENGINES[row["engine"]].dtype
    of_peak, of_product = peak_of(peak, dtype), best_product(peak, row["shape"], dtype)
    row["share_of_peak"] = round(row["gflops"] / of_peak, 3) if of_peak else None
    row["share_of_best_product"] = round(row["gflops"] / of_product, 3) if of_product else None


def _highest(old: Any, new: Any) -> Any:
    """Two trees of figures, at each leaf the larger figure, or the newer word."""
    if isinstance(new, dict) and isinstance(old, dict):
        return old | {key: _highest(old.get(key), value) for key, value in new.items()}
    if isinstance(new, int | float) and isinstance(old, int | float):
        return max(old, new)
    return new


def _key(row: Row) -> tuple[str, ...]:
    return row["shape"], row["workload"], row["allocator"], row["engine"]


def _place(row: Row) -> tuple[int, ...]:
    """Where a row stands in the file."""
    shape, workload, allocator, engine = _key(row)
    orders = (SHAPES, list(WORKLOADS), ALLOCATORS, list(ENGINES))
    names = (shape, workload, allocator, engine)
    return tuple(order.index(name) for order, name in zip(orders, names, strict=True))
