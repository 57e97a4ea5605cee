"""Run the parts and write benchmarks/results/reliability.json; docs/reliability.md shows it.

    python -m benchmarks.reliability                       everything, with a soak of 2 hours
    python -m benchmarks.reliability overload kills        these parts; the others stay as they are
    python -m benchmarks.reliability soak --hours 8        `make soak`
    python -m benchmarks.reliability --short               minutes instead of hours; nothing written

On a quiet machine; callers and server share it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from benchmarks.reliability import attacks, fairness, fuzz, kills, overload, soak
from benchmarks.reliability.result import PARTS, RESULT
from benchmarks.speed import machine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--hours", type=float, default=2.0, help="of the soak")
    parser.add_argument("--short", action="store_true", help="minutes; nothing is written")
    asked = parser.parse_args()
    unknown = set(asked.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {unknown.pop()}; there are {', '.join(PARTS)}")
    run: dict[str, Callable[[], dict[str, Any]]] = {
        "overload": lambda: overload.measure(10 if asked.short else 60),
        "fairness": lambda: fairness.measure(10 if asked.short else 60),
        "kills": lambda: kills.kills(5 if asked.short else 100),
        "restarts": lambda: kills.restarts(5 if asked.short else 100),
        "fuzz": lambda: fuzz.measure(*((10_000, 1000) if asked.short else (1_000_000, 100_000))),
        "described": lambda: fuzz.described(15 if asked.short else 2500),
        "soak": lambda: soak.measure(1 / 6 if asked.short else asked.hours),
        "attacks": lambda: attacks.measure(5 if asked.short else 60),
    }
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for part in asked.parts or PARTS:
        print(f"--- {part}", flush=True)
        figures = run[part]()
        print(json.dumps(figures, indent=1), flush=True)
        result[part] = {
            "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "machine": machine.identity()["cpu"],
            "cores": machine.cores(),
            "commit": _commit(),
            "command": " ".join(["python -m benchmarks.reliability", *sys.argv[1:]]),
            **figures,
        }
        if not asked.short:
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
