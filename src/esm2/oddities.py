"""Sequences that can be computed and hardly are what was meant: counted and said, never refused.

ACGTACGTTAGC   "nucleotides"   letters of DNA or RNA alone, which all are amino acids, too
XXXXX, -----   "nothing"       no residue that is known
MK-TAY.IA      "gaps"          of an alignment: ESM-2 has tokens for them, and reads them
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args

from esm2.types import Record

_log = logging.getLogger("esm2.oddities")

Oddity = Literal["nucleotides", "nothing", "gaps"]

_NUCLEOTIDES = "ACGTUN"
#: A protein of so many letters has them by chance once in 50,000; longer ones never do.
_SHORTEST = 8
_SHARE = 0.95
_DIFFERENT = 3
_GAPS = "-."

#: Of one kind, that a warning names.
_MOST_NAMED = 20

#: Of one record, and of several.
_SAID = {
    "nucleotides": (
        "looks like DNA or RNA and was read as a protein (translate it first)",
        "look like DNA or RNA and were read as proteins (translate them first)",
    ),
    "nothing": (
        "has no residue that is known, only X and gaps",
        "have no residue that is known, only X and gaps",
    ),
    "gaps": (
        "has gaps, which were read as such (take them out of an alignment first)",
        "have gaps, which were read as such (take them out of an alignment first)",
    ),
}

#: The same of a single one.
WHY = {
    "nucleotides": "it looks like DNA or RNA",
    "nothing": "no residue in it is known",
    "gaps": "it has gaps, which were read as such",
}


def oddity(sequence: str) -> Oddity | None:
    """What is odd about a sequence, if anything; the gravest, where there is more than one."""
    letters = sequence.replace("<mask>", "")
    gaps = sum(map(letters.count, _GAPS))
    known = len(letters) - gaps - letters.count("X")
    if not known:  # masks alone, or among what is unknown, are a question
        return "nothing" if letters == sequence != "" else None
    if known >= _SHORTEST:
        counts = [letters.count(letter) for letter in _NUCLEOTIDES]
        different = sum(1 for count in counts[:-1] if count)
        if sum(counts) >= _SHARE * known and different >= _DIFFERENT:
            return "nucleotides"
    return "gaps" if gaps else None


def tell(sequences: Sequence[str]) -> None:
    """Tell a program which of its sequences are odd: a warning in the log, or on standard error."""
    found: dict[Oddity, list[int]] = {}
    for index, sequence in enumerate(sequences):
        if odd := oddity(sequence):
            found.setdefault(odd, []).append(index)
    for odd, places in found.items():
        more = f" and {len(places) - _MOST_NAMED:,} more" if len(places) > _MOST_NAMED else ""
        named = ", ".join(map(str, places[:_MOST_NAMED]))
        _log.warning("esm2: sequences[%s]%s: %s", named, more, WHY[odd])


class Oddities:
    """Counts the odd ones among the records that pass through."""

    def __init__(self) -> None:
        self._counts: Counter[Oddity] = Counter()

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records."""
        for record in records:
            if found := oddity(record.sequence):
                self._counts[found] += 1
            yield record

    def told(self) -> str:
        """To stand at the end of a closing line; empty if there was nothing odd."""
        return "".join(
            f"; {self._counts[kind]:,} of the records {_SAID[kind][self._counts[kind] > 1]}"
            for kind in get_args(Oddity)
            if self._counts[kind]
        )
