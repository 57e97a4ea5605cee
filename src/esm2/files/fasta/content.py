"""The bytes of a file as lines of text: decompressed, and told how far it was read.

bytes ── gzip | xz | zstd | bzip2, told by their first bytes ── text, a character for each byte
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from esm2.errors import FileError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

STDIN = "-"
#: What reading damaged compressed data raises.
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstd.ZstdError)

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\x00"
_BZIP2 = re.compile(rb"BZh[1-9]")
# RFC 8878: a frame, or a skippable frame (0x184D2A50 .. 5F), with which pzstd begins a file.
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
_MAGIC_BYTES = 6
_CHUNK = 1 << 16


@dataclass(slots=True)
class Position:
    """How far the input has been read, in bytes as they lie on the disk.

    Attributes:
        done: bytes read.
        total: its size, that of all files together; 0 where that is not known, as with a pipe.
    """

    done: int = 0
    total: int = 0


def total_size(sources: Sequence[str | Path]) -> int:
    """Bytes of all files; 0 if one of them has no size."""
    sizes = []
    for source in sources:
        try:
            status = Path(source).stat()
        except OSError:  # standard input, or not there: told when it is opened
            return 0
        if not stat.S_ISREG(status.st_mode):
            return 0
        sizes.append(status.st_size)
    return sum(sizes)


def readable_again(source: str) -> bool:
    """Whether it can be looked at and read from its beginning afterwards: a pipe cannot."""
    try:
        mode = Path(source).stat().st_mode
    except OSError:  # it is not there, which a look at it tells
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """A file, or standard input.

    Raises:
        FileError: it does not exist, is a directory, or may not be read.
    """
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
        yield stream


def is_table(stream: BinaryIO) -> bool:
    """Whether it is a Parquet table, which is read from both ends; nothing is read off it here."""
    return stream.seekable() and stream.peek(4).startswith(b"PAR1")  # type: ignore[attr-defined]


def text(stream: BinaryIO, position: Position) -> io.TextIOWrapper:
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
    elif _BZIP2.match(head):
        plain = io.BufferedReader(_Inflated(whole, bz2.BZ2Decompressor))
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
            data = self._decompressed(chunk, len(view))
        view[: len(data)] = data
        return len(data)

    def _decompressed(self, chunk: bytes, most: int) -> bytes:
        try:
            return self._stream.decompress(chunk, most)
        except OSError as error:  # what bzip2 has for damage, and others for the disk
            raise EOFError(str(error)) from error

    def _next_stream(self) -> bytes:
        """The first bytes of the next stream, past zero padding; none at the end."""
        chunk = self._stream.unused_data.lstrip(b"\0")
        while not chunk and (more := self._source.read1(_CHUNK)):
            chunk = more.lstrip(b"\0")
        return chunk
