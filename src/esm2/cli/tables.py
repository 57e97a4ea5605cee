"""CSV tables: read with every byte kept, and written whole or not at all.

    mutant,DMS_score          mutant,DMS_score,esm2-650m
    A24G,"1.0"          ──>   A24G,"1.0",-3.25            a column more, nothing else changed
    D30N,-0.5                 D30N,-0.5,-1.5

A row keeps its text: quotes, line ends and bytes that are not UTF-8 included. Columns are separated
by tabs in a `.tsv`, by commas in any other file. A file that is written appears when it is
complete; until then there is a hidden one beside it, which an interrupt takes away.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

import typer

from esm2.cli.options import shown
from esm2.errors import FileError, InvalidTable

STDIN = STDOUT = "-"

_Bytes = gzip.GzipFile | BinaryIO

_GZIP = b"\x1f\x8b"
_BOM = "\ufeff"
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read.

    Attributes:
        source: name of the file.
        columns: the columns that were asked for, by name, a text for each row.
        lines: 1-based line where each row begins.
        header: the names of all columns.
        rows: text of the header and of each row, and the line ends behind it.
    """

    source: str
    delimiter: str
    columns: dict[str, list[str]]
    lines: list[int]
    header: list[str]
    rows: list[tuple[str, str]]

    def write(self, out: TextIO, name: str, values: Iterable[str]) -> None:
        """The same table with one column more.

        Args:
            values: one for each row.
        """
        cells = [name, *values]
        for (text, end), cell in zip(self.rows, cells, strict=True):
            out.write(f"{text}{self.delimiter}{_quoted(cell, self.delimiter)}{end}")


def delimiter_of(path: Path) -> str:
    """By the name of a file: a tab for .tsv and .tsv.gz, else a comma."""
    return "\t" if ending(path) == ".tsv" else ","


def ending(path: Path) -> str:
    """That of its name, which says what is in it, in lower case: ".tsv" for X.TSV and x.tsv.gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read(path: Path, wanted: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """A table of a file, or with `-` of standard input, plain or gzip.

    Args:
        wanted: columns that must be there.
        optional: columns that are read if they are.

    Raises:
        InvalidTable: it has no such column, a row of another length, or no rows.
        FileError: it cannot be read.
    """
    try:
        with _opened(path) as stream:
            gzipped = stream.read(len(_GZIP)) == _GZIP
            stream.seek(0)
            plain: _Bytes = gzip.GzipFile(fileobj=stream) if gzipped else stream
            text = _as_text(plain)
            return _parsed(_Lines(text), str(path), delimiter_of(path), wanted, optional)
    except _DAMAGE as error:
        raise FileError(path, "read", f"its gzip data is damaged or cut short ({error})") from error
    except OSError as error:
        raise FileError(path, "read", error.strerror or str(error)) from error


def _opened(path: Path) -> BinaryIO:
    if str(path) != STDIN:
        return path.open("rb")
    if sys.stdin is None:  # what Python makes of `<&-`
        raise FileError(path, "read", "standard input is closed")
    return io.BytesIO(sys.stdin.buffer.read())


def _as_text(stream: _Bytes) -> io.TextIOWrapper:
    """Any bytes can be read as such text, and written again as the same bytes."""
    return io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")


class _Lines:
    """Lines on their way to a csv reader, which takes several where a cell has line ends in it."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._taken: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.number += 1
            self._taken.append(line)
            yield line

    def take(self) -> str:
        """The text of the row that was read last."""
        text = "".join(self._taken)
        self._taken.clear()
        return text


def _parsed(
    lines: _Lines, source: str, delimiter: str, wanted: Sequence[str], optional: Sequence[str]
) -> Table:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    columns: dict[str, list[str]] = {}
    places: list[tuple[int, list[str]]] = []
    rows: list[tuple[str, str]] = []
    starts: list[int] = []
    begin = 1
    try:
        for cells in reader:
            text = lines.take()
            if not rows:
                header = [cell.removeprefix(_BOM) for cell in cells]
                columns, places = _found(header, source, wanted, optional)
            elif not cells:  # an empty line stays where it is
                body, end = rows[-1]
                rows[-1] = body, end + text
                begin = lines.number + 1
                continue
            elif len(cells) != len(header):
                counts = f"{len(cells)} cells, the header {len(header)}"
                raise InvalidTable(source, begin, f"the row has {counts}")
            else:
                starts.append(begin)
                for place, column in places:
                    column.append(cells[place])
            body = text.rstrip("\r\n")
            rows.append((body, text[len(body) :]))
            begin = lines.number + 1
    except csv.Error as error:
        raise InvalidTable(source, begin, f"it cannot be read as CSV: {error}") from error
    if not starts:
        raise InvalidTable(source, 1, "there are no rows below a header")
    return Table(source, delimiter, columns, starts, header, rows)


def _found(
    header: Sequence[str], source: str, wanted: Sequence[str], optional: Sequence[str]
) -> tuple[dict[str, list[str]], list[tuple[int, list[str]]]]:
    """An empty list for each column that is read, by its name and with its place."""
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys([*wanted, *optional]):
        if header.count(name) > 1:
            raise InvalidTable(source, 1, f"there are {header.count(name)} columns {name!a}")
        if name in header:
            columns[name] = []
        elif name in wanted:
            there = ", ".join(map(ascii, header)) or "none"
            raise InvalidTable(source, 1, f"there is no column {name!a}; there are {there}")
    return columns, [(header.index(name), column) for name, column in columns.items()]


def _quoted(cell: str, delimiter: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="").writerow([cell])
    return buffer.getvalue()


# --- writing -----------------------------------------------------------------------------------


def check_output(output: Path, delimiter: str | None, option: str) -> None:
    """Refuse the name of a table that could not be written, or not with these delimiters.

    Raises:
        typer.BadParameter: naming the option.
    """
    if str(output) == STDOUT:
        return
    if ending(output) not in (".csv", ".tsv"):
        raise typer.BadParameter(
            f"{output} has no ending that is known here; use .csv, .tsv, .csv.gz or .tsv.gz",
            param_hint=option,
        )
    if delimiter is not None and delimiter_of(output) != delimiter:
        kind = ".tsv" if delimiter == "\t" else ".csv"
        raise typer.BadParameter(f"the input is a {kind}; write a {kind}", param_hint=option)


def name_of(output: Path) -> str:
    """What a summary calls it."""
    return "standard output" if str(output) == STDOUT else shown(str(output))


@contextmanager
def written(output: Path) -> Iterator[TextIO]:
    """A file to write text to, complete or not there; `-` is standard output.

    Raises:
        FileError: it cannot be written.
    """
    if str(output) == STDOUT:
        out = _as_text(sys.stdout.buffer)
        try:
            yield out
        finally:
            out.detach()  # which writes the rest, and leaves standard output open
        return
    from esm2.cli import single

    with (
        single.written(output) as hidden,
        _failing(output),
        hidden.open("wb") as plain,
        _as_text(_zipped(plain, output)) as out,
    ):
        yield out


def _zipped(plain: BinaryIO, output: Path) -> _Bytes:
    """Compressed if the name says so: without a time or a name in it, so the same every time."""
    if output.suffix.lower() != ".gz":
        return plain
    return gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0)


@contextmanager
def _failing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(output, "write", error.strerror or str(error)) from error


def number(value: float) -> str:
    """A score as text: more digits than float32 arithmetic has."""
    return f"{value:.8g}"
