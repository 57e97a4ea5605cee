"""Sequences of a caller -> requests that the server accepts -> arrays in the caller's order. Pure.

sequences  0 1 2 3 4 5 6 7 8 9       all are checked before anything is sent
batches   [0 1 2 3][4 5 6 7][8 9]    neighbours, at most max_items and max_body_bytes each
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from esm2.alphabet import Masks, residue_tokens, tokenize_all
from esm2.client.wire import Limits, content_of

# A list item more, around the letters of its sequence: {"sequence":""} and a comma.
_ITEM_BYTES = len('{"sequence":""},')


@dataclass(frozen=True, slots=True)
class Protein:
    """A checked sequence.

    Attributes:
        residues: L; a `<mask>` is one.
    """

    sequence: str
    residues: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbours that travel in one request.

    Attributes:
        first: place of the first of them among all.
    """

    first: int
    proteins: tuple[Protein, ...]

    @property
    def sequences(self) -> list[str]:
        return [protein.sequence for protein in self.proteins]


def checked(sequences: Iterable[str], masks: Masks, limits: Limits) -> list[Protein]:
    """Every sequence, known to be one that the server takes.

    Raises:
        TypeError: it is no list of strings.
        InvalidRequest: naming each faulty sequence as "sequences[i]".
    """
    tokenized = tokenize_all(sequences, masks=masks, max_residues=limits.max_residues)
    return [Protein(sequence, len(residue_tokens(tokens))) for sequence, tokens in tokenized]


def batches(
    proteins: Sequence[Protein],
    params: dict[str, object],
    limits: Callable[[], Limits],
    start: int = 0,
) -> Iterator[Batch]:
    """As few requests as the limits allow; a sequence over them all alone travels alone.

    Args:
        limits: those that hold now; the server may come back with others.
        start: place of the first protein among all.
    """
    frame = len(json.dumps(content_of([], params)))
    first, size = 0, 0
    for index, protein in enumerate(proteins):
        cost = len(protein.sequence) + _ITEM_BYTES
        now = limits()
        full = index - first >= now.max_items or size + cost > now.max_body_bytes - frame
        if index > first and full:
            yield Batch(start + first, tuple(proteins[first:index]))
            first, size = index, 0
        size += cost
    if first < len(proteins):
        yield Batch(start + first, tuple(proteins[first:]))
