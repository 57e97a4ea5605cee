"""What the engines are asked to compute, the same bytes in every process.

    mix                 200 proteins of the lengths of UniProt: log-normal, median 300, 40..1022
    uniform-256, -512   32 and 16 proteins of one length: nothing to pad, nothing to balance
    contacts-512 ..     the contact map of one protein of that length
    scan-286            the masked-marginal scan of one protein: 286 sequences with one mask each
    short               one protein of 40 residues: the time that a lonely caller waits

Residues are random: the time depends on lengths alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

#: In the order of the logits' columns 4..23.
LETTERS = "LAGVSERTIDPKQNFYMHWC"

#: A masked scan gives a row of 20 logits for each residue, embeddings are of the last layer.
Output = Literal["embeddings", "contacts", "scan"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One question.

    Attributes:
        proteins: what is computed, at least one.
        whole: how many proteins the workload has when nothing limits it.
        calls: how often it is asked within one measurement, whose result is the median.
    """

    name: str
    output: Output
    proteins: tuple[str, ...]
    whole: int
    calls: int = 1

    @property
    def passes(self) -> list[int]:
        """The tokens, BOS and EOS included, of each sequence that passes through the model."""
        lengths = [len(protein) + 2 for protein in self.proteins]
        if self.output == "scan":
            return [tokens for tokens in lengths for _ in range(tokens - 2)]
        return lengths


def find(name: str, limit: int | None = None) -> Workload:
    """The workload of that name.

    Args:
        limit: keep the first so many proteins of the mix; the others are small enough.
    """
    if name != "mix" or limit is None:
        return WORKLOADS[name]
    return replace(WORKLOADS[name], proteins=WORKLOADS[name].proteins[:limit])


def _mix() -> Workload:
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(math.log(300), 0.6, 200), 40, 1022).astype(int)
    proteins = tuple(_protein(generator, length) for length in lengths)
    return Workload("mix", "embeddings", proteins, len(proteins))


def _uniform(name: str, output: Output, length: int, count: int = 1, calls: int = 1) -> Workload:
    generator = np.random.default_rng(length)
    proteins = tuple(_protein(generator, length) for _ in range(count))
    return Workload(name, output, proteins, count, calls)


def _protein(generator: np.random.Generator, length: int) -> str:
    return "".join(generator.choice(list(LETTERS), length))


WORKLOADS = {
    workload.name: workload
    for workload in (
        _mix(),
        _uniform("uniform-256", "embeddings", 256, count=32),
        _uniform("uniform-512", "embeddings", 512, count=16),
        _uniform("contacts-512", "contacts", 512),
        _uniform("contacts-1022", "contacts", 1022),
        _uniform("contacts-2048", "contacts", 2048),
        _uniform("scan-286", "scan", 286),
        _uniform("short", "embeddings", 40, calls=50),
    )
}
