"""Engines in turn over one workload, and the rows that come of it.

    warm up   A B C         each result is kept, to be compared with the reference
    round 1   A B C
    round 2   A B C ...     every time is kept; median, least and most are reported

Whoever cannot run has a row that says why.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import accuracy
from benchmarks.speed.flops import flops
from benchmarks.speed.process import DidNotRun, Measurement, Process
from benchmarks.speed.rivals import ENGINES, OURS
from benchmarks.speed.workloads import Workload
from esm2.catalog import Shape

Row = dict[str, Any]


@contextmanager
def started(
    engines: Sequence[str], checkpoint: Path, allocator: str, directory: Path
) -> Iterator[dict[str, Process | DidNotRun]]:
    """Every engine loaded, in a process of its own, or why it could not be; ended on leaving."""
    processes: dict[str, Process | DidNotRun] = {}
    try:
        for engine in engines:
            try:
                log = directory / f"{engine}.log"
                processes[engine] = Process(engine, checkpoint, allocator, log)
            except DidNotRun as refusal:
                processes[engine] = refusal
        yield processes
    finally:
        for process in processes.values():
            if isinstance(process, Process):
                process.close()


class Contest:
    """One workload on one shape.

    Attributes:
        refusals: why engines did not run, those that are out before it begins included.
    """

    def __init__(
        self,
        workload: Workload,
        shape: Shape,
        processes: Mapping[str, Process | DidNotRun],
        refusals: Mapping[str, str],
        directory: Path,
    ) -> None:
        self._workload = workload
        self._shape = shape
        self._directory = directory
        self.refusals = dict(refusals)
        self._processes: dict[str, Process] = {}
        for engine, process in processes.items():
            if isinstance(process, DidNotRun):
                self.refusals[engine] = str(process)
            elif engine not in refusals:
                self._processes[engine] = process
        self._times: dict[str, list[Measurement]] = {engine: [] for engine in self._processes}

    def run(self, rounds: int, limit: int | None) -> None:
        """Warm up, then measure."""
        self._turn(limit, save=True)
        for _ in range(rounds):
            for engine, measurement in self._turn(limit, save=False).items():
                self._times[engine].append(measurement)

    def rows(self) -> list[Row]:
        """A row for each engine: its figures beside its accuracy, or why it did not run."""
        medians = {
            engine: statistics.median(one.seconds for one in times)
            for engine, times in self._times.items()
            if engine not in self.refusals
        }
        reference = next((name for name in accuracy.REFERENCES if name in medians), None)
        rows = []
        for engine in (name for name in ENGINES if name in medians or name in self.refusals):
            row = self._what() | {"engine": engine}
            if engine in self.refusals:
                row["did_not_run"] = self.refusals[engine]
            else:
                row |= self._speed(engine, medians)
                row["accuracy"] = self._accuracy(engine, reference)
            rows.append(row)
        return rows

    def _turn(self, limit: int | None, save: bool) -> dict[str, Measurement]:
        """Every engine that still runs, once."""
        measured = {}
        for engine, process in self._processes.items():
            if engine in self.refusals:
                continue
            try:
                file = self._result(engine) if save else None
                measured[engine] = process.ask(self._workload, limit, file)
            except DidNotRun as refusal:
                self.refusals[engine] = str(refusal)
        return measured

    def _what(self) -> Row:
        return {
            "workload": self._workload.name,
            "proteins": len(self._workload.proteins),
            "whole": self._workload.whole,
            "tokens": sum(self._workload.passes),
            "flops": flops(self._workload, self._shape),
        }

    def _speed(self, engine: str, medians: Mapping[str, float]) -> Row:
        seconds = [one.seconds for one in self._times[engine]]
        median = medians[engine]
        over_ours = {own: round(median / medians[own], 3) for own in OURS if own in medians}
        return {
            "seconds": [round(one, 6) for one in seconds],
            "median": round(median, 6),
            "min": round(min(seconds), 6),
            "max": round(max(seconds), 6),
            "tokens_per_second": round(sum(self._workload.passes) / median, 1),
            "gflops": round(flops(self._workload, self._shape) / median / 1e9, 2),
            "over_ours": over_ours,
            "others": [round(one.others, 3) for one in self._times[engine]],
        }

    def _accuracy(self, engine: str, reference: str | None) -> Row | None:
        if reference is None:
            return None
        ours, theirs = (np.load(self._result(name))["result"] for name in (engine, reference))
        return {"reference": reference, **accuracy.compare(ours, theirs)}

    def _result(self, engine: str) -> Path:
        return self._directory / f"{self._workload.name}-{engine}.npz"
