"""The model card of esm2-demo, written from the committed figures and log of its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.recipe import DEMO

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "training" / "results"
DEMO_DIRECTORY = ROOT / "src" / "esm2" / "demo"
CARD = DEMO_DIRECTORY / "README.md"

_TAIL = 6  # visits to the held-out proteins that the card shows


def card() -> str:
    figures = json.loads((RESULTS / "figures.json").read_bytes())
    log = [json.loads(line) for line in (RESULTS / "log.jsonl").read_text().splitlines()]
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return template.format(
        shape=DEMO.shape,
        recipe=DEMO,
        parameters=f"{DEMO.shape.parameters / 1e6:.2f}",
        last=log[-1],
        million_tokens=round(log[-1]["tokens"] / 1e6),
        minutes=round(log[-1]["seconds"] / 60),
        curve=_curve(log),
        figures=figures,
        pairs=figures["pairs"],
        contacts=figures["contacts"],
        share=round(100 * figures["pairs"]["real_below_shuffled"], 1),
    )


def _curve(log: list[dict[str, Any]]) -> str:
    visits = [entry for entry in log if "valid_perplexity" in entry]
    rows = [
        f"| {entry['tokens'] / 1e6:.1f} | {entry['crop']} | {entry['rate']:.2f} |"
        f" {entry['loss']:.3f} | {entry['valid_perplexity']:.2f} |"
        for entry in (*visits[:1], *visits[-_TAIL:])
    ]
    return "\n".join(rows)
