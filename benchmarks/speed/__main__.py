"""The speed of this package beside its rivals, on this machine.

    python -m benchmarks.speed --shapes 8M 35M --workloads mix scan-286 --rounds 3

Protocol. Random weights of the official shapes, the same for everybody. Each engine is a process of
its own that loads them once (`rivals`). For each workload: everybody is warmed up once, then asked
in turn, A B C A B C, `--rounds` times, one working while the others sleep. Every time is kept, and
the median, ratios of medians, tokens/s, GFLOP/s counted without padding (`flops`) and their share
of the machine's measured peak (`peak`) are reported, beside the distance of the results from
fair-esm's float32. An engine that cannot run says why, and the others go on.

Engines, workloads and shapes may be measured a few at a time, as memory allows: ratios are of one
run, and benchmarks/results/speed-MACHINE.json keeps the newest row of each. `table` prints it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import machine, results, workloads
from benchmarks.speed.contest import Contest, Row, started
from benchmarks.speed.rivals import ENGINES
from benchmarks.speed.rivals.graphs import graph_file
from benchmarks.speed.workloads import WORKLOADS, Workload
from esm2.catalog import find

WORK = machine.ROOT / "build" / "speed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=results.SHAPES, default=["8M"])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--allocator", choices=machine.ALLOCATORS, default="default")
    parser.add_argument("--limit", type=int, help="keep the first so many proteins of the mix")
    parser.add_argument("--results", type=Path, default=results.DIRECTORY, help="where to write")
    parser.add_argument("--work", type=Path, default=WORK, help="for checkpoints and exports")
    arguments = parser.parse_args()
    run = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.speed {shlex.join(sys.argv[1:])}".strip(),
        **machine.software(arguments.allocator),
    }
    identity = machine.identity()
    file = results.file_of(identity["name"], arguments.results)
    peak = json.loads(_python("benchmarks.speed.peak", *arguments.shapes))
    questions = [workloads.find(name, arguments.limit) for name in arguments.workloads]
    for shape in arguments.shapes:
        checkpoint = _checkpoint(shape, arguments.work)
        refusals = _export(checkpoint, questions, arguments.engines)
        with (
            tempfile.TemporaryDirectory() as temporary,
            started(
                arguments.engines, checkpoint, arguments.allocator, Path(temporary)
            ) as processes,
        ):
            for question in questions:
                contest = Contest(
                    question,
                    find(f"esm2-{shape}").shape,
                    processes,
                    refusals.get(question.output, {}),
                    Path(temporary),
                )
                contest.run(arguments.rounds, arguments.limit)
                key = {"shape": shape, "allocator": arguments.allocator}
                rows = [key | row for row in contest.rows()]
                results.merge(file, identity, peak, run, rows)
                _report(rows)


def _checkpoint(shape: str, work: Path) -> Path:
    """The random checkpoint of a shape, written unless it is there."""
    checkpoint = work / f"esm2-{shape.lower()}"
    if not checkpoint.exists():
        partial = checkpoint.with_suffix(".partial")
        _python("tools.random_checkpoint", checkpoint.name, partial)
        partial.rename(checkpoint)
    return checkpoint


def _export(
    checkpoint: Path, questions: Sequence[Workload], engines: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Make the graphs that engines need, before anybody takes memory.

    Returns:
        output -> engine -> why its graph could not be made.
    """
    refusals: dict[str, dict[str, str]] = {}
    for output in {question.output for question in questions} - {"contacts"}:
        graph = "logits" if output == "scan" else output
        failed: dict[str, str] = {}
        for format_ in dict.fromkeys(own for e in engines if (own := ENGINES[e].graph)):
            if graph_file(checkpoint, graph, format_).exists():
                continue
            try:
                _python("benchmarks.speed.rivals.graphs", checkpoint, graph, format_)
            except subprocess.CalledProcessError as error:
                failed[format_] = f"no {format_} graph: {_last_line(error.stderr)}"
        refusals[output] = {e: why for e in engines if (why := failed.get(ENGINES[e].graph or ""))}
    return refusals


def _python(*arguments: Any) -> str:
    """Run a module in a process of its own and return what it printed.

    Raises:
        CalledProcessError: with what it wrote to standard error.
    """
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def _last_line(text: str) -> str:
    return "".join(text.strip().splitlines()[-1:])


def _report(rows: Sequence[Row]) -> None:
    for row in rows:
        told = row.get("did_not_run") or f"{row['median']:.4g} s  {row['gflops']:.1f} GFLOP/s"
        print(f"{row['shape']:>5} {row['workload']:14} {row['engine']:32} {told}", flush=True)


if __name__ == "__main__":
    main()
