"""Where the figures are, and what there are figures of."""

from __future__ import annotations

from pathlib import Path

RESULT = Path(__file__).parents[1] / "results/reliability.json"
PARTS = ("overload", "fairness", "kills", "restarts", "fuzz", "described", "soak", "attacks")
