"""FASTA, read as a stream: one record at a time, from files or standard input.

    bytes ── content.py: decompressed ── lines ── Record, Record, ...
      │                                    └── not FASTA: foreign.py says what it is
      └── table.py: a Parquet table of id and sequence

    ;a comment             skipped, wherever it stands
    >sp|P1|X first one     id "sp|P1|X", the first word; the header may be in any encoding
    MKTAYI AKQR            blanks and tabs inside a sequence are removed, empty lines skipped
    QISFVK*                a `*` that ends a record is a stop codon and removed
    >                      no name: the id is "seq 2". Ids are words, so none has a blank in it
                           and none can be mistaken for this one

Nothing else is changed: letters stay as they are (what reads a record refuses those that have no
token), a record without residues has the sequence "", ids may repeat. Line ends may be those of
Unix, Windows or old Macs; a byte order mark and DOS's ^Z at an end of a line are dropped. A line
that begins with `>` is a header, so a `<mask>` must not be broken just before its `>`.
Memory is bounded by the longest record.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from esm2.errors import FileError, InvalidFasta
from esm2.files.fasta import foreign, table
from esm2.files.fasta.content import (
    DAMAGE,
    STDIN,
    Position,
    is_table,
    opened,
    readable_again,
    text,
    total_size,
)
from esm2.files.place import spelled
from esm2.types import Record

__all__ = ["STDIN", "Position", "read", "read_all", "upper"]

_BOM = "\xef\xbb\xbf"  # UTF-8's byte order mark, read as Latin-1
_WORD_END = re.compile(r"[ \t]")
_BLANKS = str.maketrans("", "", " \t\n\v\f")
_DOS_END = "\x1a"  # ^Z, with which DOS ends a file, and joins several


def read(source: str | Path, position: Position | None = None) -> Generator[Record, None, None]:
    """The records of a FASTA file, in order, each as soon as it is complete.

    The file is opened at the first step of the iteration and closed with the iterator.

    Args:
        source: path of a file, plain or compressed whatever its name; "-" is standard input.
        position: kept up to date while records are read.

    Raises:
        InvalidFasta: the file has no record, text before its first record, is another format, or
            is compressed and damaged or cut short.
        FileError: it does not exist, is a directory, may not be read, or is a Parquet table that
            cannot be used.
        MissingExtra: it is a Parquet table, and what reads them is not installed.
    """
    position = position or Position()
    position.total = total_size([source])
    yield from _read(str(source), position)


def read_all(
    sources: Sequence[str], position: Position | None = None
) -> Generator[Record, None, None]:
    """The records of several files, one file after the other.

    Each has been looked at before the first record is given: a wrong name at the end costs nothing.

    Args:
        sources: as for `read`. Where there are several, each record knows its own.
        position: of all files together.

    Raises:
        InvalidFasta, FileError, MissingExtra: as `read`; of what is wrong behind the first record
            of a file, when it comes to that.
    """
    position = position or Position()
    position.total = total_size(sources)
    for source in sources[1:]:
        if source != STDIN and readable_again(source):
            with closing(_read(source, Position())) as records:
                next(records)
    for source in sources:
        for record in _read(source, position):
            yield replace(record, source=spelled(source)) if len(sources) > 1 else record


def upper(records: Iterable[Record]) -> Iterator[Record]:
    """The same records with every letter in upper case, but for `<mask>`."""
    for record in records:
        sequence = record.sequence.upper().replace("<MASK>", "<mask>")
        yield replace(record, sequence=sequence)


def _read(name: str, position: Position) -> Generator[Record, None, None]:
    with opened(name) as stream:
        if name != STDIN and is_table(stream):
            yield from table.records(name, position)
        else:
            with text(stream, position) as lines:
                yield from _records(_numbered(lines, name), name)


def _records(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Record]:
    count = 0
    number = 0
    header: str | None = None
    header_line = 0
    pieces: list[str] = []
    for number, line in lines:
        if line.startswith(">"):
            if header is not None:
                yield _record(header, header_line, pieces, count, name)
            header, header_line, pieces = line[1:], number, []
            count += 1
        elif line.startswith(";"):
            continue
        elif residues := line.translate(_BLANKS).strip(_DOS_END):
            if header is None:
                raise InvalidFasta(name, number, foreign.named(line, (more for _, more in lines)))
            pieces.append(residues)
    if header is None:
        raise InvalidFasta(name, max(number, 1), "the file is empty: it has no record")
    yield _record(header, header_line, pieces, count, name)


def _record(header: str, line: int, pieces: list[str], count: int, name: str) -> Record:
    if reason := foreign.disguised(header, pieces):
        raise InvalidFasta(name, line, reason)
    header = _decoded(header.rstrip("\n")).strip(" \t")
    sequence = _decoded("".join(pieces)).removesuffix("*")
    return Record(_WORD_END.split(header, 1)[0] or f"seq {count}", header, sequence, line)


def _decoded(latin: str) -> str:
    """Text that was read as Latin-1: the UTF-8 it really is, or else as it was read."""
    if latin.isascii():
        return latin
    try:
        return latin.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return latin


def _numbered(text: io.TextIOWrapper, name: str) -> Iterator[tuple[int, str]]:
    """Lines with their 1-based numbers."""
    number = 1
    while line := _line(text, name, number):
        # Files that were joined have theirs in the middle.
        yield number, line.lstrip(_DOS_END).removeprefix(_BOM)
        number += 1


def _line(text: io.TextIOWrapper, name: str, number: int) -> str:
    try:
        return text.readline()
    except DAMAGE as error:
        raise InvalidFasta(
            name,
            number,
            f"the compressed data is damaged or cut short ({error}); fetch or compress it again",
        ) from error
    except OSError as error:
        raise FileError(name, "read", error.strerror or str(error)) from error
