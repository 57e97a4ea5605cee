"""The standard streams, closed, full or read by nobody.

    a command   was run for what it writes to standard output: what cannot be written there ends it
                in one sentence, a reader who has left ends it without a word (`results`)
    a server    starts, serves and ends all the same (`usable`)

A supervisor may start a program without them. What is opened next, a socket perhaps, would then be
standard output to whatever prints there. So they are opened on nothing first: all of a server,
which starts, serves and ends without them; of every other command standard error, where nothing
is that was asked for.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TextIO, cast

from esm2.errors import FileError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@contextmanager
def results() -> Iterator[None]:
    """`sys.stdout` inside is a command's: what it does not take ends the command.

    Raises:
        FileError: it is closed or full.
        SystemExit: its reader has left.
    """
    _open_on_nothing()
    before = sys.stdout
    if before is not sys.__stdout__:  # whoever put another one there has the results
        yield
        return
    own = cast(TextIO, _Closed()) if before is None else _text(before)
    sys.stdout = own
    try:
        yield
        own.flush()
    finally:
        if sys.stdout is own:  # no server has made it its own
            sys.stdout = before


def _text(before: TextIO) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Results(1, "w", closefd=False)),
        encoding=before.encoding,
        errors="surrogateescape",  # a path is printed as it is
        line_buffering=before.isatty(),
    )


class _Results(io.FileIO):
    """What cannot be written is told once: there is no need to fail again when Python ends."""

    _over = False

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self._over:
            return size
        try:
            while (written := super().write(data)) is None:  # it is open without blocking
                select.select([], [self], [])
        except BrokenPipeError:
            self._over = True
            raise SystemExit(1) from None
        except OSError as error:
            self._over = True
            raise FileError("-", "write", error.strerror or str(error)) from error
        return written


class _Closed(io.TextIOBase):
    """What Python has no stream for, as with `>&-`."""

    def write(self, _text: str, /) -> NoReturn:
        raise FileError("-", "write", "standard output is closed")

    @property
    def buffer(self) -> BinaryIO:
        """Who asks for it is going to write."""
        self.write("")


@contextmanager
def usable() -> Iterator[None]:
    """Files 0, 1 and 2, and Python's streams on them, can be used inside."""
    _open_on_nothing()
    sys.stdout = sys.__stdout__ or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        # What could not be written would make Python end with status 120.
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except (OSError, ValueError):
                setattr(sys, name, None)


def _open_on_nothing() -> None:
    """Files 0, 1 and 2 are there, and standard error is: who prints to None prints to the other."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this
            os.set_inheritable(number, True)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def tell(text: str) -> None:
    """One line, or more, on standard output, as far as it takes them."""
    with suppress(OSError):
        print(text, flush=True)
