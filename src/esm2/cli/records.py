"""Records of a FASTA file on their way to a model: the good ones go on, the bad ones are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from esm2.cli.options import counted, say, shown
from esm2.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from esm2.types import Record


class Accepted:
    """The records that can be scored, with their tokens.

    Attributes:
        residues: of those that were taken so far.
        refused: records that were told and left out so far.
    """

    def __init__(self, records: Iterable[Record], source: str, max_residues: int) -> None:
        self._records = records
        self._source = source
        self._max_residues = max_residues
        self.residues = 0
        self.refused = 0

    def __iter__(self) -> Iterator[tuple[Record, NDArray[np.uint8]]]:
        from esm2.alphabet import residue_tokens, tokenize

        for record in self._records:
            try:
                tokens = tokenize(record.sequence, masks="none", max_residues=self._max_residues)
            except RequestError as error:
                self.refused += 1
                say(f"{self._source}, line {record.line}, record {shown(record.id)}: {error}")
            else:
                self.residues += len(residue_tokens(tokens))
                yield record, tokens

    @property
    def left_out(self) -> str:
        """What a summary says of the refused ones."""
        return (
            f"; {counted(self.refused, 'record')} left out, as told above" if self.refused else ""
        )
