"""Many records, from anywhere to anywhere: input order, bounded memory.

    records ──> tokens ──> submit ──┐                    at most in_flight_tokens in here,
                                    │  r7 r6 r5 r4 r3    done or not
    Embedded, Embedded ... <── oldest first ──┘

`submit` is what a batcher offers: it makes batches of whatever waits, so the more records wait,
the fuller its batches; the limit keeps a file of any size from being in memory at once. A record
that cannot be used takes its place in the order with its error and does not disturb the others;
when the engine fails, everything stops. A record that is too long is refused, cut, or seen in
windows, as was asked for; what was done is in the answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from esm2 import alphabet
from esm2.errors import RequestError, SequenceTooLong
from esm2.pooling import Region
from esm2.types import ForwardRequest, Outputs, Record, Want
from esm2.windows import Window, joined, windows

Submit = Callable[[ForwardRequest], "Future[Outputs]"]

#: Which residues of a record, of so many, are asked about; RequestError says why there are none.
RegionOf = Callable[[Record, int], Region]

#: What becomes of a record that is too long.
Long = Literal["error", "truncate", "window"]


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of one record.

    Attributes:
        record: as it was read.
        residues: L, a `<mask>` counts as one; 0 where there was no telling.
        used: the residues that were seen; fewer than L where it was truncated.
        windows: in how many pieces it was seen; 1 is whole.
        result: its outputs, or why there are none.
        region: which of these residues are asked about; None is all.
    """

    record: Record
    residues: int
    used: int
    windows: int
    result: Outputs | RequestError
    region: Region | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Planned:
    """What is to be asked for a record: its windows, or why there are none."""

    record: Record
    residues: int = 0
    used: int = 0
    pieces: tuple[tuple[Window, NDArray[np.uint8]], ...] = ()
    error: RequestError | None = None
    region: Region | None = None

    @property
    def cost(self) -> int:
        """Tokens that it may hold of memory."""
        return sum(len(tokens) for _, tokens in self.pieces) or len(self.record.sequence) + 2

    def submitted(self, want: Want, submit: Submit) -> _Waiting:
        """The same on its way; what the model refuses is on its way with its error."""
        asked = want if len(self.pieces) == 1 else replace(want, mean=False, per_token=True)
        pieces: list[tuple[Window, Future[Outputs]]] = []
        error = self.error
        try:
            for window, tokens in self.pieces:
                pieces.append((window, submit(ForwardRequest(tokens, asked))))
        except BaseException as failure:
            for _, future in pieces:
                future.cancel()
            if not isinstance(failure, RequestError):
                raise
            error = failure
        used = self.used if error is None else 0
        pieces = pieces if error is None else []
        return _Waiting(replace(self, used=used, error=error), want, tuple(pieces))


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    planned: _Planned
    want: Want
    pieces: tuple[tuple[Window, Future[Outputs]], ...]

    def done(self) -> bool:
        return all(future.done() for _, future in self.pieces)

    def embedded(self) -> Embedded:
        own = self.planned
        numbers = (own.residues, own.used, len(self.pieces))
        return Embedded(own.record, *numbers, self._result(), own.region)

    def _result(self) -> Outputs | RequestError:
        if self.planned.error is not None:
            return self.planned.error
        try:
            outputs = [(window, future.result()) for window, future in self.pieces]
        except RequestError as error:
            return error
        if len(outputs) == 1:
            return outputs[0][1]
        return joined(outputs, mean=self.want.mean, per_token=self.want.per_token)

    def cancel(self) -> None:
        for _, future in self.pieces:
            future.cancel()


def embed(
    records: Iterable[Record],
    want: Want,
    submit: Submit,
    *,
    max_residues: int,
    in_flight_tokens: int,
    long: Long = "error",
    region: RegionOf | None = None,
) -> Generator[Embedded, None, None]:
    """What `want` asks for, for each record, in input order.

    Args:
        submit: takes a request at once and answers later, out of order if it likes.
        max_residues: what a record may have to be seen whole.
        in_flight_tokens: the most tokens submitted and not yet yielded; a single record may be
            larger, and then travels alone.
        long: a longer record is refused with SequenceTooLong ("error"), embedded as its first
            `max_residues` residues ("truncate"), or in overlapping windows of that size ("window",
            for mean and per_token only; see `windows.py`).
        region: which residues are asked about. The whole record is computed all the same, and its
            outputs are of all of it; but one that has no such residues is refused, uncomputed.

    Raises:
        Esm2Error: the engine failed, or a record could not be read. However the iteration ends,
            what is still waiting is cancelled.
    """
    assert long != "window" or want == replace(want, bos=False, logits=False, contacts=False)
    waiting: deque[_Waiting] = deque()
    in_flight = 0
    try:
        for record in records:
            planned = _placed(_planned(record, max_residues, long), region)
            while waiting and (waiting[0].done() or in_flight + planned.cost > in_flight_tokens):
                oldest = waiting[0].embedded()
                in_flight -= waiting.popleft().planned.cost
                yield oldest
            waiting.append(planned.submitted(want, submit))
            in_flight += planned.cost
        while waiting:
            oldest = waiting[0].embedded()
            waiting.popleft()
            yield oldest
    finally:
        for entry in waiting:
            entry.cancel()


def _planned(record: Record, max_residues: int, long: Long) -> _Planned:
    try:
        tokens = alphabet.tokenize(record.sequence)
    except RequestError as error:
        return _Planned(record, error=error)
    residues = len(alphabet.residue_tokens(tokens))
    if residues <= max_residues:
        return _Planned(record, residues, residues, ((Window(0, residues, 0, residues), tokens),))
    if long == "error":
        return _Planned(record, residues, error=SequenceTooLong(residues, max_residues))
    used = max_residues if long == "truncate" else residues
    plan = windows(residues, max_residues) if long == "window" else [Window(0, used, 0, used)]
    pieces = tuple((own, alphabet.cut(tokens, own.start, own.stop)) for own in plan)
    return _Planned(record, residues, used, pieces)


def _placed(planned: _Planned, region: RegionOf | None) -> _Planned:
    if region is None or planned.error is not None:
        return planned
    try:
        return replace(planned, region=region(planned.record, planned.used))
    except RequestError as error:
        return replace(planned, pieces=(), error=error)
