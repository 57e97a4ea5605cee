"""An engine in a process of its own, seen from the benchmark.

Its allocator, threads and memory are its own, and it sleeps while others are asked. Whatever goes
wrong in it becomes DidNotRun with a reason, and the others go on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import machine
from benchmarks.speed.workloads import Workload

# After an answer, OpenMP's and other pools' threads spin for a while before they sleep.
_PAUSE_SECONDS = 0.3


class DidNotRun(Exception):
    """An engine cannot do what it was asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One time.

    Attributes:
        others: share of the machine that other programs took meanwhile, 0..1.
    """

    seconds: float
    others: float


class Process:
    """A started engine.

    Raises:
        DidNotRun: it could not be loaded.
    """

    def __init__(self, engine: str, checkpoint: Path, allocator: str, log: Path) -> None:
        self._log = log
        environment = os.environ | machine.allocator_environment(allocator)
        # Everything is here already; a machine without network would wait for a refusal.
        environment |= {"HF_HUB_OFFLINE": "1"}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.speed.rivals", engine, checkpoint],
                cwd=machine.ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            self._read()
        except DidNotRun:
            self.close()
            raise

    def ask(self, workload: Workload, limit: int | None, save: Path | None) -> Measurement:
        """Have it compute a workload once.

        Args:
            save: where it shall write the result, off the clock.

        Raises:
            DidNotRun: it cannot, or its process has ended.
        """
        question = {
            "workload": workload.name,
            "limit": limit,
            "save": None if save is None else str(save),
        }
        time.sleep(_PAUSE_SECONDS)
        started, others = time.perf_counter(), self._busy_others()
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise DidNotRun(self._epitaph()) from None
        answer = self._read()
        passed = (time.perf_counter() - started) * machine.cores()
        return Measurement(answer["seconds"], max(0.0, self._busy_others() - others) / passed)

    def close(self) -> None:
        """End the process and wait until it has ended."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DidNotRun(self._epitaph())
        answer: dict[str, Any] = json.loads(line)
        if "did_not_run" in answer:
            raise DidNotRun(answer["did_not_run"])
        return answer

    def _busy_others(self) -> float:
        return machine.busy_seconds() - machine.busy_seconds_of(self._process.pid)

    def _epitaph(self) -> str:
        status = self._process.wait()
        cause = signal.Signals(-status).name if status < 0 else f"status {status}"
        last = self._log.read_text().strip().splitlines()[-1:]
        return ": ".join([f"its process ended with {cause}", *last])
