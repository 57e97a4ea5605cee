"""Many records, from anywhere to anywhere: input order, bounded memory.

    records ──> tokens ──> submit ──┐                    at most in_flight_tokens in here,
                                    │  r7 r6 r5 r4 r3    done or not
    Embedded, Embedded ... <── oldest first ──┘

`submit` is what a batcher offers: it makes batches of whatever waits, so the more records wait,
the fuller its batches; the limit keeps a file of any size from being in memory at once. A record
that cannot be used takes its place in the order with its error and does not disturb the others;
when the engine fails, everything stops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from esm2 import alphabet
from esm2.errors import RequestError, SequenceTooLong
from esm2.types import ForwardRequest, Outputs, Record, Want

Submit = Callable[[ForwardRequest], "Future[Outputs]"]


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of one record.

    Attributes:
        record: as it was read.
        residues: L, a `<mask>` counts as one; 0 where there was no telling.
        result: its outputs, or why there are none.
    """

    record: Record
    residues: int
    result: Outputs | RequestError


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    record: Record
    residues: int
    future: Future[Outputs]

    def embedded(self) -> Embedded:
        try:
            return Embedded(self.record, self.residues, self.future.result())
        except RequestError as error:
            return Embedded(self.record, self.residues, error)


def embed(
    records: Iterable[Record],
    want: Want,
    submit: Submit,
    *,
    max_residues: int,
    in_flight_tokens: int,
) -> Generator[Embedded, None, None]:
    """What `want` asks for, for each record, in input order.

    Args:
        submit: takes a request at once and answers later, out of order if it likes.
        max_residues: a longer record is refused with SequenceTooLong.
        in_flight_tokens: the most tokens submitted and not yet yielded; a single record may be
            larger, and then travels alone.

    Raises:
        Esm2Error: the engine failed, or a record could not be read. However the iteration ends,
            what is still waiting is cancelled.
    """
    waiting: deque[_Waiting] = deque()
    in_flight = 0
    try:
        for record in records:
            cost = _cost(record)
            while waiting and (waiting[0].future.done() or in_flight + cost > in_flight_tokens):
                oldest = waiting[0].embedded()
                waiting.popleft()
                in_flight -= _cost(oldest.record)
                yield oldest
            waiting.append(_submitted(record, want, submit, max_residues))
            in_flight += cost
        while waiting:
            oldest = waiting[0].embedded()
            waiting.popleft()
            yield oldest
    finally:
        for entry in waiting:
            entry.future.cancel()


def _cost(record: Record) -> int:
    """What a record and its outputs may hold of memory, in tokens."""
    return len(record.sequence) + 2


def _submitted(record: Record, want: Want, submit: Submit, max_residues: int) -> _Waiting:
    """The record on its way; one that cannot go is on its way with its error."""
    residues = 0
    try:
        tokens = alphabet.tokenize(record.sequence)
        residues = len(alphabet.residue_tokens(tokens))
        if residues > max_residues:
            raise SequenceTooLong(residues, max_residues)
        return _Waiting(record, residues, submit(ForwardRequest(tokens, want)))
    except RequestError as error:
        refused: Future[Outputs] = Future()
        refused.set_exception(error)
        return _Waiting(record, residues, refused)
