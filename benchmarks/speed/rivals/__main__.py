"""One engine in this process, asked through standard input.

    python -m benchmarks.speed.rivals ENGINE CHECKPOINT

    -> {"ready": true}
    <- {"workload": "mix", "limit": null, "save": "/tmp/x.npz"}
    -> {"seconds": 4.2}          or {"did_not_run": "why"}; the process goes on

`save` is where the result is written, as `result`, or null. The process ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.speed import workloads
from benchmarks.speed.rivals import ENGINES
from benchmarks.speed.rivals.rival import Array, CannotRun, Rival
from benchmarks.speed.workloads import Workload


def main() -> None:
    engine, checkpoint = sys.argv[1:]
    answers = _take_standard_output()
    _die_first()
    try:
        entry = ENGINES[engine]
        module = import_module(f"benchmarks.speed.rivals.{entry.module}")
        rival = module.load(Path(checkpoint), **entry.options)
    except Exception as error:
        _answer(answers, {"did_not_run": _reason(error)})
        return
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        try:
            _answer(answers, {"seconds": _measure(rival, **json.loads(line))})
        except Exception as error:
            _answer(answers, {"did_not_run": _reason(error)})


def _measure(rival: Rival, workload: str, limit: int | None, save: str | None) -> float:
    question = workloads.find(workload, limit)
    seconds = []
    for _ in range(question.calls):
        started = time.perf_counter()
        result = _compute(rival, question)
        seconds.append(time.perf_counter() - started)
    if save is not None:
        np.savez(save, result=result)
    return statistics.median(seconds)


def _compute(rival: Rival, workload: Workload) -> Array:
    if workload.output == "embeddings":
        return rival.embed(workload.proteins)
    (protein,) = workload.proteins
    return rival.contacts(protein) if workload.output == "contacts" else rival.scan(protein)


def _take_standard_output() -> TextIO:
    """Keep standard output for answers: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _die_first() -> None:
    """Where memory runs out, the kernel shall take this process and not one of somebody else."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _answer(answers: TextIO, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


def _reason(error: Exception) -> str:
    first, *_ = str(error).strip().splitlines() or [""]
    return first if isinstance(error, CannotRun) else f"{type(error).__name__}: {first}"


if __name__ == "__main__":
    main()
