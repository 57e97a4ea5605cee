"""What a worker's child serves in these tests: engines that die, hang or go wrong on command.

    Worker(Faulty(shape, on={DIES: "die"}), "my-slug")

The first residue of a sequence is its command. These classes travel to the child as pickles.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from esm2.alphabet import tokenize
from esm2.catalog import Shape
from esm2.errors import CheckpointError, EngineError, NotFinite
from esm2.types import Decided, ForwardRequest, Outputs, Want

SLUG = "my-slug"
LARGE = 3000  # residues: its arrays travel beside the pickle

_DECIDED = Decided(
    slug=SLUG,
    shape=Shape(layers=2, dim=4, heads=2),
    device="cpu",
    dtype="float32",
    kernel="fake",
    weights_sha256="0" * 64,
    weights_kind="custom",
    contacts=True,
    pack_tokens=4096,
    threads=0,
)


def asking(sequence: str) -> ForwardRequest:
    return ForwardRequest(tokenize(sequence), Want(logits=True))


def expected(request: ForwardRequest) -> np.ndarray:
    """The logits of a request: each row is its token."""
    return np.repeat(request.tokens[1:-1, None], 33, axis=1).astype(np.float32)


@dataclass(frozen=True)
class Faulty:
    """Loads a `_Faulty`.

    Attributes:
        notes: a directory in which each load and each command leaves a file, and each batch that
            is computed with objects that the garbage collector leaves alone ("spared").
        once: a command is obeyed the first time only.
        weights: a file with the hash of the weights; a missing one cannot be loaded.
        gives_way: whether a batch may go ahead of another.
        killed: which loads are killed; 1 is the first.
        unlucky: which loads raise what is no error of ours.
    """

    notes: Path
    once: bool = False
    weights: Path | None = None
    gives_way: bool = False
    killed: tuple[int, ...] = ()
    unlucky: tuple[int, ...] = ()

    def __call__(self) -> _Faulty:
        note(self.notes, "load")
        if seen(self.notes, "load") in self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if seen(self.notes, "load") in self.unlucky:
            raise OSError("GLIBC_2.99 not found")
        decided = replace(_DECIDED, threads=int(self.gives_way))
        if self.weights is not None:
            if not self.weights.exists():
                raise CheckpointError(self.weights, "no such file or directory")
            decided = replace(decided, weights_sha256=self.weights.read_text())
        return _Faulty(self, decided)


@dataclass
class _Faulty:
    of: Faulty
    decided: Decided
    broken: bool = field(default=False)

    def run(self, requests: list[ForwardRequest], *, ahead: bool = False) -> list[Outputs]:
        if gc.get_freeze_count():
            note(self.of.notes, "spared")
        for request in requests:
            self._obey(chr(65 + int(request.tokens[1])), len(request.tokens))
        if self.broken:
            raise EngineError("the device is gone")
        return [Outputs(logits=expected(request)) for request in requests]

    def _obey(self, command: str, tokens: int) -> None:
        if command not in COMMANDS.values() or tokens in (22, 122):  # the questions at the start
            return
        if self.of.once and seen(self.of.notes, command):
            return
        note(self.of.notes, command)
        if command == COMMANDS["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if command == COMMANDS["exit"]:
            os._exit(3)
        if command == COMMANDS["hang"]:
            time.sleep(3600)
        if command == COMMANDS["nan"]:
            raise NotFinite("logits")
        if command == COMMANDS["break"]:
            self.broken = True
        if command == COMMANDS["bug"]:
            raise ZeroDivisionError("by zero")


def _letter(residue: str) -> str:
    return chr(65 + int(tokenize(residue)[1]))


GOOD = "AAAA"  # and does nothing

#: Of these, whatever is true of processes of this one is true of actors of a Ray cluster.
EVERYWHERE = pytest.mark.parametrize("where", ["process", "actor"], indirect=True)

#: What a first residue of these does.
RESIDUES = {"die": "W", "exit": "C", "hang": "H", "nan": "N", "break": "D", "bug": "P"}
COMMANDS = {name: _letter(residue) for name, residue in RESIDUES.items()}


def note(notes: Path, event: str) -> None:
    (notes / f"{event}-{time.monotonic_ns()}").touch()


def seen(notes: Path, event: str) -> int:
    """How often something happened."""
    return len(list(notes.glob(f"{event}-*")))


def logits(worker, *sequences):
    """What a worker, or anything that computes a batch, gives for them."""
    return [own.logits for own in worker([asking(sequence) for sequence in sequences])]


def command(name):
    """A sequence that does it."""
    return RESIDUES[name] + GOOD
