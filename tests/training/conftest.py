"""A small world to train in: a few random proteins, held-out ones, and structures."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.proteins import residues

#: Of the proteins to learn from; two are too short for the narrowest window.
LENGTHS = (*range(20, 90, 7), 140, 300)
HELD_OUT = (25, 60, 110)
STRUCTURES = {"1aaa_A": 40, "2bbb_A": 55, "3ccc_A": 60, "4ddd_B": 48}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    _write(directory / "proteins.fasta.gz", LENGTHS, seed=1)
    _write(directory / "valid.fasta.gz", HELD_OUT, seed=2)
    (directory / "structures").mkdir()
    generator = np.random.default_rng(3)
    for name, length in STRUCTURES.items():
        bits = generator.random(length * (length - 1) // 2) < 0.1
        np.savez(
            directory / "structures" / f"{name}.npz",
            sequence="".join(residues(length, seed=4)),
            contacts=np.packbits(bits),
        )
    return directory


def _write(path: Path, lengths: tuple[int, ...], seed: int) -> None:
    records = (
        f">p{i}\n{''.join(residues(length, seed=seed))}\n" for i, length in enumerate(lengths)
    )
    path.write_bytes(gzip.compress("".join(records).encode()))
