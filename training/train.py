"""The training loop: several processes of one thread each, resumed from the last checkpoint.

    rank 0   batches 0, 2, 4, 6 of step s ─┐
                                           ├─ gradients added up ─ one step of every rank, the same
    rank 1   batches 1, 3, 5, 7            ┘

Two processes of one thread beat one of two threads: the model is small, and most of its operations
are too short to be worth sharing. Rank 0 writes the checkpoint, the log and the progress bar.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from esm2.alphabet import AMINO_ACID_COLUMNS
from esm2.engine.device import has_bfloat16
from training.model import Learner
from training.optimizers import Masters
from training.proteins import Batch, Windows, hidden_once, homologues, read_tokens
from training.recipe import Recipe

SAVE_EVERY = 100  # steps
VALIDATE_EVERY = 250
LOG_EVERY = 25


def launch(recipe: Recipe, data: Path, out: Path, processes: int) -> None:
    """Train, or go on training, until the recipe's last step.

    Args:
        data: directory with proteins.fasta.gz and valid.fasta.gz.
        out: directory of state.pt and log.jsonl.
    """
    out.mkdir(parents=True, exist_ok=True)
    meeting = out / "meeting"
    meeting.unlink(missing_ok=True)
    # Buffers of the same sizes are asked for at every step: give none back to the system, which
    # would have to clear each page again. Read by the C library of the processes started below.
    keep = {"MMAP_THRESHOLD": 1 << 32, "TRIM_THRESHOLD": 1 << 32, "TOP_PAD": 1 << 28}
    os.environ.update({f"MALLOC_{name}_": str(size) for name, size in keep.items()})
    arguments = (processes, recipe, data, out, meeting)
    torch.multiprocessing.spawn(_work, arguments, nprocs=processes)


def native_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it, which is three times as fast as float32 there.

    Elsewhere it is emulated, three times slower than float32.
    """
    return torch.bfloat16 if has_bfloat16() else torch.float32


def _work(rank: int, processes: int, recipe: Recipe, data: Path, out: Path, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
    )
    try:
        _Run(rank, processes, recipe, data, out).run()
        dist.barrier()  # gloo may abort a process whose peer is still at work when it leaves
    finally:
        dist.destroy_process_group()


class _Run:
    def __init__(self, rank: int, processes: int, recipe: Recipe, data: Path, out: Path) -> None:
        self._rank = rank
        self._processes = processes
        self._recipe = recipe
        self._out = out
        proteins = read_tokens(data / "proteins.fasta.gz", without=homologues())
        self._windows = {crop: Windows(proteins, crop) for _, crop in recipe.crops}
        self._valid = hidden_once(read_tokens(data / "valid.fasta.gz"))[rank::processes]
        torch.manual_seed(recipe.seed)
        self._dtype = native_dtype()
        self._model = Learner(recipe.shape).to(self._dtype)
        self._masters = Masters(self._model, recipe)
        self._step = 0
        self._tokens = 0
        self._seconds = 0.0
        self._restore()

    def run(self) -> None:
        columns = (
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.description}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, disable=self._rank > 0) as progress:
            bar = progress.add_task("", total=self._recipe.steps, completed=self._step)
            losses: list[float] = []
            since, tokens_then = time.monotonic(), self._tokens
            while self._step < self._recipe.steps:
                losses.append(self._learn())
                entry = self._entry(losses, tokens_then, time.monotonic() - since)
                progress.update(bar, completed=self._step, description=_shown(entry))
                last = self._step == self._recipe.steps
                validate = last or self._step % VALIDATE_EVERY == 0
                if validate or self._step % LOG_EVERY == 0:
                    self._seconds += time.monotonic() - since
                    entry["seconds"] = round(self._seconds)
                    if validate:
                        entry["valid_perplexity"] = round(self._validate(), 4)
                    self._log(entry)
                    losses, since, tokens_then = [], time.monotonic(), self._tokens
                if last or self._step % SAVE_EVERY == 0:
                    self._save()

    def _learn(self) -> float:
        """One step; the mean loss of its batches, in nats."""
        recipe = self._recipe
        windows = self._windows[recipe.crop(self._step)]
        totals = torch.zeros(2)  # loss, tokens
        for number in range(self._rank, recipe.batches, self._processes):
            generator = np.random.default_rng((recipe.seed, self._step, number))
            batch = windows.draw(generator, recipe.batch_tokens)
            loss = self._loss(batch) / recipe.batches
            loss.backward()
            self._masters.collect()
            totals += torch.tensor([loss.item(), batch.tokens.size])
        dist.all_reduce(totals)
        dist.all_reduce(self._masters.gradients)
        self._masters.step(self._step)
        self._step += 1
        self._tokens += int(totals[1])
        return float(totals[0])

    def _loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self._logits(batch), torch.from_numpy(batch.targets))

    def _logits(self, batch: Batch) -> torch.Tensor:
        return self._model(torch.from_numpy(batch.tokens), torch.from_numpy(batch.picked))

    @torch.no_grad()
    def _validate(self) -> float:
        """Masked perplexity as it is learned; `training/evaluate.py` has the one of the engine."""
        totals = torch.zeros(2, dtype=torch.float64)  # nats, positions
        for batch in self._valid:
            logits = self._logits(batch)[:, AMINO_ACID_COLUMNS]
            targets = torch.from_numpy(batch.targets) - AMINO_ACID_COLUMNS.start
            nats = F.cross_entropy(logits, targets, reduction="sum")
            totals += torch.tensor([nats.item(), len(targets)])
        dist.all_reduce(totals)
        return float((totals[0] / totals[1]).exp())

    def _entry(self, losses: list[float], tokens_then: int, seconds: float) -> dict[str, Any]:
        return {
            "step": self._step,
            "tokens": self._tokens,
            "crop": self._recipe.crop(self._step - 1),
            "rate": round(self._recipe.rate(self._step - 1), 4),
            "dtype": str(self._dtype).removeprefix("torch."),
            "loss": round(float(np.mean(losses)), 4),
            "tokens_per_second": round((self._tokens - tokens_then) / seconds),
        }

    def _log(self, entry: dict[str, Any]) -> None:
        if self._rank == 0:
            with (self._out / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")

    def _save(self) -> None:
        if self._rank == 0:
            state = self._masters.state() | {
                "recipe": _identity(self._recipe),
                "step": self._step,
                "tokens": self._tokens,
                "seconds": self._seconds,
            }
            partial = self._out / "state.part"
            torch.save(state, partial)
            partial.replace(self._out / "state.pt")

    def _restore(self) -> None:
        file = self._out / "state.pt"
        if not file.exists():
            return
        state = torch.load(file, weights_only=True)
        if state["recipe"] != _identity(self._recipe):
            raise SystemExit(f"{file} is of another recipe; go on with that one, or move it away")
        self._masters.restore(state)
        self._step, self._tokens = state["step"], state["tokens"]
        self._seconds = state["seconds"]


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What must not change when a run goes on; its length may."""
    return dataclasses.asdict(recipe) | {"steps": 0}


def _shown(entry: dict[str, Any]) -> str:
    return f"loss {entry['loss']:.3f}  {entry['tokens_per_second']:,} tokens/s  left"
