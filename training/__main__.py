"""Train esm2-demo, from the proteins to the checkpoint; goes on where it was interrupted.

    python -m training DATA OUT           into OUT/checkpoint, with figures.json and log.jsonl
    python -m training DATA OUT --ship    and from there into the package and training/results

DATA holds proteins.fasta.gz, valid.fasta.gz and structures/ (what they are: training/README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import torch

from training.card import CARD, DEMO_DIRECTORY, RESULTS, card
from training.contacts import fit, read_structures
from training.evaluate import evaluate
from training.export import export
from training.recipe import DEMO
from training.train import launch


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ship", action="store_true", help="put the checkpoint into the package")
    parser.add_argument(
        "--processes",
        type=int,
        default=min(DEMO.batches, os.cpu_count() or 1),
        help="of one thread each; what is learned is the same but for rounding",
    )
    arguments = parser.parse_args()
    launch(DEMO, arguments.data, arguments.out, arguments.processes)
    finish(arguments.data, arguments.out)
    if arguments.ship:
        ship(arguments.out)


def finish(data: Path, out: Path) -> None:
    """From the last state of the training to a checkpoint with a contact head, and its figures."""
    weights = torch.load(out / "state.pt", weights_only=True)["weights"]
    checkpoint = out / "checkpoint"
    export(DEMO.shape, weights, checkpoint)
    fitted_on, _ = read_structures(data / "structures")
    export(DEMO.shape, weights, checkpoint, fit(checkpoint, fitted_on))
    figures = evaluate(data, checkpoint) | {
        "command": "python -m training DATA OUT",
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("torch", "numpy", "scikit-learn")},
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


def ship(out: Path) -> None:
    """Copy the checkpoint into the package, its figures and log beside the code, write the card."""
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(out / "checkpoint" / name, DEMO_DIRECTORY / name)
    RESULTS.mkdir(exist_ok=True)
    for name in ("figures.json", "log.jsonl"):
        shutil.copyfile(out / name, RESULTS / name)
    CARD.write_text(card(), encoding="utf-8")


if __name__ == "__main__":
    main()
