"""FASTA, read as a stream: one record at a time, from a file or standard input.

    bytes ── gzip | xz | zstd, told by their first bytes ── lines ── Record, Record, ...

    ;a comment             skipped, wherever it stands
    >sp|P1|X first one     id "sp|P1|X", the first word; the header may be in any encoding
    MKTAYI AKQR            blanks and tabs inside a sequence are removed, empty lines skipped
    QISFVK*                a `*` that ends a record is a stop codon and removed
    >                      no name: the id is "seq 2". Ids are words, so none has a blank in it
                           and none can be mistaken for this one

Nothing else is changed: letters stay as they are (what reads a record refuses those that have no
token), a record without residues has the sequence "", ids may repeat. Line ends may be those of
Unix, Windows or old Macs, a byte order mark is dropped. A line that begins with `>` is a header,
so a `<mask>` must not be broken just before its `>`.
Memory is bounded by the longest record.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from esm2.errors import FileError, InvalidFasta
from esm2.types import Record

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

STDIN = "-"

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\x00"
# RFC 8878: a frame, or a skippable frame (0x184D2A50 .. 5F), with which pzstd begins a file.
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
_MAGIC_BYTES = 6
_CHUNK = 1 << 16

_BOM = "\xef\xbb\xbf"  # UTF-8's byte order mark, read as Latin-1
_WORD_END = re.compile(r"[ \t]")
_BLANKS = str.maketrans("", "", " \t\n\v\f")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstd.ZstdError)


@dataclass(slots=True)
class Position:
    """How far a file has been read, in bytes as they lie on the disk.

    Attributes:
        done: bytes read.
        total: its size; 0 where that is not known, as with a pipe.
    """

    done: int = 0
    total: int = 0


def read(source: str | Path, position: Position | None = None) -> Generator[Record, None, None]:
    """The records of a FASTA file, in order, each as soon as it is complete.

    The file is opened at the first step of the iteration and closed with the iterator.

    Args:
        source: path of a file, plain or compressed whatever its name; "-" is standard input.
        position: kept up to date while records are read.

    Raises:
        InvalidFasta: the file has no record, text before its first record, or is compressed and
            damaged or cut short.
        FileError: it does not exist, is a directory, or may not be read.
    """
    name = str(source)
    position = position or Position()
    with _opened(name, position) as stream, _text(stream, position) as text:
        yield from _records(_numbered(text, name), name)


def _records(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Record]:
    count = 0
    number = 0
    header: str | None = None
    header_line = 0
    pieces: list[str] = []
    for number, line in lines:
        if line.startswith(">"):
            if header is not None:
                yield _record(header, header_line, pieces, count)
            header, header_line, pieces = line[1:], number, []
            count += 1
        elif line.startswith(";"):
            continue
        elif residues := line.translate(_BLANKS):
            if header is None:
                raise InvalidFasta(
                    name,
                    number,
                    "text before the first record; FASTA begins with a line that starts with '>'"
                    " (plain, or compressed with gzip, xz or zstd)",
                )
            pieces.append(residues)
    if header is None:
        raise InvalidFasta(name, max(number, 1), "the file is empty: it has no record")
    yield _record(header, header_line, pieces, count)


def _record(header: str, line: int, pieces: list[str], count: int) -> Record:
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
        yield number, line.removeprefix(_BOM) if number == 1 else line
        number += 1


def _line(text: io.TextIOWrapper, name: str, number: int) -> str:
    try:
        return text.readline()
    except _DAMAGE as error:
        raise InvalidFasta(
            name,
            number,
            f"the compressed data is damaged or cut short ({error}); fetch or compress it again",
        ) from error
    except OSError as error:
        raise FileError(name, "read", error.strerror or str(error)) from error


# --- bytes -------------------------------------------------------------------------------------


@contextmanager
def _opened(name: str, position: Position) -> Iterator[BinaryIO]:
    if name == STDIN:
        if sys.stdin is None:  # what Python makes of `<&-`
            raise FileError(name, "read", "standard input is closed")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115  only the opening is inside the try
    except OSError as error:
        raise FileError(name, "read", error.strerror or str(error)) from error
    with stream:
        status = os.fstat(stream.fileno())
        position.total = status.st_size if stat.S_ISREG(status.st_mode) else 0
        yield stream


def _text(stream: BinaryIO, position: Position) -> io.TextIOWrapper:
    """Decompressed, and cut into lines at any kind of line end; each byte is a character."""
    head = stream.read(_MAGIC_BYTES)
    whole: io.BufferedReader = io.BufferedReader(_Replayed(head, stream, position), _CHUNK)
    plain: BinaryIO = whole
    if head.startswith(_GZIP):
        plain = gzip.GzipFile(fileobj=whole)  # type: ignore[assignment]
    elif head == _XZ:
        plain = io.BufferedReader(_Inflated(whole, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)))
    elif _ZSTD.match(head):
        plain = io.BufferedReader(_Inflated(whole, zstd.ZstdDecompressor))
    return io.TextIOWrapper(plain, encoding="latin-1", newline=None)


class _Replayed(io.RawIOBase):
    """A stream, its first bytes put back: standard input cannot be rewound."""

    def __init__(self, head: bytes, rest: BinaryIO, position: Position) -> None:
        self._head = head
        self._rest = rest
        self._position = position

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._head[: len(view)] or self._rest.read1(len(view))  # type: ignore[attr-defined]
        self._head = self._head[len(view) :]
        view[: len(data)] = data
        self._position.done += len(data)
        return len(data)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: ReadableBuffer, max_length: int = -1) -> bytes: ...


class _Inflated(io.RawIOBase):
    """One or more compressed streams end to end.

    `lzma.LZMAFile` takes what follows the first stream for padding when it does not understand
    it, and ends there without a word. Here everything but zero bytes has to be a stream.
    """

    def __init__(self, source: io.BufferedReader, start: Callable[[], _Decompressor]) -> None:
        self._source = source
        self._start = start
        self._stream = start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = b""
        while not data:
            chunk = b""
            if self._stream.eof:
                chunk = self._next_stream()
                if not chunk:
                    return 0
                self._stream = self._start()
            elif self._stream.needs_input:
                chunk = self._source.read1(_CHUNK)
                if not chunk:
                    raise EOFError("it ends in the middle of a stream")
            data = self._stream.decompress(chunk, len(view))
        view[: len(data)] = data
        return len(data)

    def _next_stream(self) -> bytes:
        """The first bytes of the next stream, past zero padding; none at the end."""
        chunk = self._stream.unused_data.lstrip(b"\0")
        while not chunk and (more := self._source.read1(_CHUNK)):
            chunk = more.lstrip(b"\0")
        return chunk
