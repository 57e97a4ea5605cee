"""`esm2 embed` and `esm2 extract` as processes that are stopped at a moment of one's choice.

    with Process(directory, "embed", "-", "-o", "x.npz") as process:
        process.feed(fasta, until=7)       write input until the journal has 7 records
        process.stop(signal.SIGKILL)

The input comes through a pipe, a record at a time, and the pipe stays open: the process cannot
have come to its end when it is stopped.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cli import warm
from tests.cli.warm import ENVIRONMENT
from tests.proteins import residues

MAIN = "from esm2.cli import main; main()"
_TICK = 0.002  # seconds
_BEHIND = 8  # records that may be read and not done
_PATIENCE = 25  # ticks


def proteins(count: int) -> list[bytes]:
    """Records of FASTA: 20 to 200 residues, some that cannot be embedded, some ids twice."""
    records = []
    for i in range(count):
        sequence = "".join(residues(20 + i * 37 % 181, rare=0.05, seed=i))
        name = f"r{i - 7 if i % 10 == 9 else i}"
        if i % 12 == 5:
            sequence = ("", sequence.lower(), sequence + "1")[i // 12 % 3]
        records.append(f">{name} number {i}\n{sequence}\n".encode())
    return records


@dataclass(frozen=True)
class Done:
    """How a process ended, and what it told."""

    status: int
    stdout: bytes
    told: list[str]


def run(directory: Path, *arguments: object, stdin: bytes = b"", full_at: int = 0) -> Done:
    """Run a command to its end.

    Args:
        full_at: bytes of a file at which the disk is full; 0 for never.
    """
    return _done(warm.run(directory, *arguments, stdin=stdin, largest_file=full_at))


def _done(ended: subprocess.CompletedProcess[bytes]) -> Done:
    return Done(ended.returncode, ended.stdout, ended.stderr.decode().splitlines())


class Process:
    """A command that reads its input from a pipe, and is fed. Use it as a context manager."""

    def __init__(self, directory: Path, *arguments: object, **variables: str) -> None:
        environment = ENVIRONMENT | variables
        self._command = warm.Command(directory, *arguments, environment=environment)
        # Open at both ends: it does not wait for a reader, nor break when that is killed.
        self._pipe = os.open(self._command.pipe, os.O_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._command.__exit__()
        if self._pipe >= 0:
            os.close(self._pipe)

    def feed(self, records: list[bytes], journal: Path, until: int) -> None:
        """Write records until the journal has entries for `until` of them, or there is no more.

        A record that is done is entered when the next one has been read, so each is written when
        those before have been taken out of the pipe, and a while after them if few are done yet.
        """
        nobody = threading.Event()
        for sent, record in enumerate(records, 1):
            os.write(self._pipe, record)
            patience = _PATIENCE
            while self._command.running and (
                self._unread() or (patience and entries(journal) < sent - _BEHIND)
            ):
                nobody.wait(_TICK)
                patience = max(0, patience - 1)
            if entries(journal) >= until:
                return

    def _unread(self) -> int:
        """Bytes that are in the pipe."""
        return int.from_bytes(fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4)), sys.byteorder)

    def stop(self, how: signal.Signals) -> Done:
        """Send a signal, and wait for the end."""
        self._command.send(how)
        return self.end()

    def end(self) -> Done:
        """Wait for the end."""
        os.close(self._pipe)
        self._pipe = -1
        return _done(self._command.end())


def entries(journal: Path) -> int:
    """How many records a journal has, whole ones."""
    try:
        return max(0, journal.read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0
