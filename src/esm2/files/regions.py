"""Which residues of each record are pooled: the same in all of them, or as a table says.

    27-38                        1-based, both ends included
    id<TAB>start<TAB>end         a table: a line for each part of a record, several are one region

A table is UTF-8 text; its first line may be `id start end`, and empty lines are skipped. All
records of an id have its region.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from esm2.errors import FileError, RequestError
from esm2.files.place import spelled
from esm2.pooling import Region
from esm2.types import Record

_SPAN = re.compile(r"(\d{1,9})-(\d{1,9})", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_LINE_END = re.compile(r"\r\n|\r|\n")
_HEADER = ["id", "start", "end"]


@dataclass(slots=True)
class _Own:
    """What a table has of an id.

    Attributes:
        line: the first of its lines, 1-based.
        met: whether a record has the id.
    """

    line: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    met: bool = False


class Regions:
    """The region of each record.

    Args:
        same: that of all records; or
        table: spans by id, of the file `source`, which has the hash `digest`.

    Attributes:
        described: two of which this is equal give every record the same region.
    """

    def __init__(
        self,
        same: Region | None = None,
        table: Mapping[str, _Own] | None = None,
        source: str = "",
        digest: str = "",
    ) -> None:
        self._same = same
        self._table = table or {}
        self._source = source
        self.described = str(same) if same else f"sha256:{digest}"

    def of(self, record: Record, residues: int) -> Region:
        """The region of a record.

        Args:
            residues: those that are embedded.

        Raises:
            RequestError: it has none, or one that goes beyond its end.
        """
        region = self._same
        if region is None:
            own = self._table.get(record.id)
            if own is None:
                raise RequestError(f"there is no region for it in {self._source}")
            region = _region(own.spans)
        if region.last > residues:
            raise RequestError(
                f"its region, {region}, goes beyond residue {residues}, the last that is embedded"
            )
        return region

    def watch(self, records: Iterator[Record]) -> Iterator[Record]:
        """The same records; afterwards `strangers` knows whom the table speaks of."""
        for record in records:
            if own := self._table.get(record.id):
                own.met = True
            yield record

    def strangers(self) -> list[str]:
        """A sentence for each id of the table that no record had."""
        return [
            f"{self._source}, line {own.line}: no record has the id {name!a}"
            for name, own in self._table.items()
            if not own.met
        ]


def given(values: Sequence[str]) -> Regions | None:
    """Those of the command line, such as `27-38` and `27-38,56-65`, or a file; None for nothing.

    Raises:
        ValueError: a region is upside down, or there is something else among them.
        FileError: the file cannot be read.
        RequestError: a line of it is no region.
    """
    words = [word.strip() for value in values for word in value.split(",")]
    spans = []
    for word in words:
        found = _SPAN.fullmatch(word)
        if found is None and len(values) == 1:
            return _table(Path(values[0]))
        if found is None:
            raise ValueError(f"{word!r} is no region such as 27-38; a file of them is given alone")
        start, stop = int(found[1]), int(found[2])
        if reason := _objection(start, stop):
            raise ValueError(f"{word!r} is no region: {reason}")
        spans.append((start, stop))
    return Regions(_region(spans)) if spans else None


def _region(spans: Sequence[tuple[int, int]]) -> Region:
    """The region of some spans: however it was written, it is written in one way."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return Region(tuple(joined))


def _objection(start: int, stop: int) -> str | None:
    if start < 1:
        return "residues are counted from 1"
    return "it ends before it begins" if stop < start else None


def _table(path: Path) -> Regions:
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise FileError(path, "read", "it is not UTF-8 text") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(path, "read", f"{reason}; a region is like 27-38") from error
    table: dict[str, _Own] = {}
    for number, line in enumerate(_LINE_END.split(text), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if cells == [""] or (not table and [cell.lower() for cell in cells] == _HEADER):
            continue
        place = f"{path}, line {number}"
        if len(cells) != 3:
            raise RequestError(
                f"{place}: {len(cells)} columns, not the three id, start, end with tabs between"
            )
        name, *numbers = cells
        if not name or not all(map(_NUMBER.fullmatch, numbers)):
            raise RequestError(f"{place}: {line!a} is not an id and two numbers of residues")
        start, stop = map(int, numbers)
        if reason := _objection(start, stop):
            raise RequestError(f"{place}: {start} to {stop} is no region: {reason}")
        table.setdefault(name, _Own(number)).spans.append((start, stop))
    if not table:
        raise RequestError(f"{path}: there is no region in it")
    return Regions(table=table, source=spelled(path), digest=sha256(content).hexdigest())
