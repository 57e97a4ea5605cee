"""Records of FASTA files on their way to a model: the good ones go on, the bad ones are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from esm2.cli.options import counted, say, sentence, shown
from esm2.errors import RequestError
from esm2.oddities import Oddities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from esm2.files import Entry
    from esm2.types import Record

_TOLD = 20
_REPEATED_TOLD = 5


class Refusals:
    """Tells why records are refused: the first twenty one by one, the rest as a number.

    Args:
        source: of the records, where they do not say themselves.
        strict: the first one is an error.

    Attributes:
        count: records that were refused so far.
    """

    def __init__(self, source: str, *, strict: bool) -> None:
        self._source = source
        self._strict = strict
        self.count = 0

    def tell(self, record: Record, error: RequestError) -> None:
        """Tell of one more.

        Raises:
            RequestError: it is one too many.
        """
        told = f"{place(record.source or self._source, record)}: {sentence(error)}"
        if self._strict:
            raise RequestError(told)
        self.count += 1
        if self.count <= _TOLD:
            say(told)

    def tell_the_rest(self) -> None:
        """One line for all that were not told."""
        if self.count > _TOLD:
            say(f"{self._source}: {counted(self.count - _TOLD, 'more record')} refused")


def place(source: str, record: Record | Entry) -> str:
    """Where a record is."""
    return f"{source}, {record.place}, record {shown(record.id)}"


def tell_repeated(counts: Mapping[str, int]) -> None:
    """One line for the ids that occur more than once, with their numbers, if there are any."""
    if not counts:
        return
    told = [f"{shown(name)} ({count} times)" for name, count in counts.items()]
    hidden = len(told) - _REPEATED_TOLD
    more = f" and {hidden} more" if hidden > 0 else ""
    say(
        f"ids that occur more than once (all their records are kept, in order):"
        f" {', '.join(told[:_REPEATED_TOLD])}{more}"
    )


class Accepted:
    """The records that can be scored, with their tokens.

    Attributes:
        residues: of those that were taken so far.
        refused: records that were left out so far.
    """

    def __init__(
        self, records: Iterable[Record], source: str, max_residues: int, *, strict: bool
    ) -> None:
        self._oddities = Oddities()
        self._records = self._oddities.watch(records)
        self._max_residues = max_residues
        self._refusals = Refusals(source, strict=strict)
        self._seen: set[int] = set()  # 8 bytes of each id
        self._repeated: Counter[str] = Counter()
        self.residues = 0

    def __iter__(self) -> Iterator[tuple[Record, NDArray[np.uint8]]]:
        from esm2.alphabet import residue_tokens, tokenize

        for record in self._records:
            try:
                tokens = tokenize(record.sequence, masks="none", max_residues=self._max_residues)
            except RequestError as error:
                self._refusals.tell(record, error)
            else:
                self.residues += len(residue_tokens(tokens))
                self._count(record.id)
                yield record, tokens
        self._refusals.tell_the_rest()

    def _count(self, name: str) -> None:
        if hash(name) in self._seen:
            self._repeated[name] += 1
        self._seen.add(hash(name))

    def tell_repeated(self) -> None:
        """One line for ids that several of them have."""
        tell_repeated({name: again + 1 for name, again in self._repeated.items()})

    @property
    def refused(self) -> int:
        return self._refusals.count

    @property
    def remarks(self) -> str:
        """What a summary says of the refused ones, and of odd ones."""
        left_out = (
            f"; {counted(self.refused, 'record')} left out, as told above" if self.refused else ""
        )
        return left_out + self._oddities.told()
