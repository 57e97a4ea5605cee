"""What an engine must be able to do, and what its process needs to know of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from benchmarks.speed import machine
from esm2.catalog import Shape

Array = NDArray[Any]

#: Rows of logits are cut to the 20 natural amino acids, which every engine has.
AMINO_ACIDS = slice(4, 24)


class CannotRun(Exception):
    """An engine cannot do what it was asked, as is known beforehand; the message says why."""


class Rival(Protocol):
    """A loaded engine. From strings to numpy arrays, all of it is on the clock."""

    def embed(self, proteins: Sequence[str]) -> Array:
        """Mean over residues of the last layer, (n, D), in the order given."""

    def contacts(self, protein: str) -> Array:
        """Contact probabilities, (L, L)."""

    def scan(self, protein: str) -> Array:
        """Row i: the logits of residue i where it alone is masked, (L, 20)."""


def check_attention_stack(shape: Shape, residues: int) -> None:
    """Refuse contacts that would be killed: the maps of all layers, and about three copies.

    Raises:
        CannotRun: saying how large the maps are.
    """
    stack = shape.layers * shape.heads * (residues + 2) ** 2 * 4
    if 4 * stack > machine.memory("MemAvailable"):
        raise CannotRun(f"its attention maps alone are {stack / 1e9:.1f} GB, held several times")
