"""`esm2 embed` and `esm2 extract` as processes that are stopped at a moment of one's choice.

    with Process(directory, "embed", "-", "-o", "x.npz") as process:
        process.feed(fasta, until=7)       write input until the journal has 7 records
        process.stop(signal.SIGKILL)

The input comes through a pipe, a record at a time, and the pipe stays open: the process cannot
have come to its end when it is stopped.
"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cli import warm
from tests.cli.warm import ENVIRONMENT
from tests.proteins import residues

MAIN = "from esm2.cli import main; main()"
_TICK = 0.002  # seconds


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
    done = warm.run(directory, *arguments, stdin=stdin, largest_file=full_at)
    return Done(done.returncode, done.stdout, done.stderr.decode().splitlines())


class Process:
    """A command that reads its input from a pipe. Use it as a context manager."""

    def __init__(self, directory: Path, *arguments: object, **variables: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *map(str, arguments)],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=ENVIRONMENT | variables,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.__exit__(kind, error, trace)

    def feed(self, records: list[bytes], journal: Path, until: int) -> None:
        """Write records until the journal has entries for `until` of them, or there is no more.

        A record that is done is entered when the next one has been read, so each is written when
        those before have been taken out of the pipe.
        """
        assert self._process.stdin
        pipe = self._process.stdin.fileno()
        nobody = threading.Event()
        for record in records:
            self._process.stdin.write(record)
            waiting = True
            while waiting and self._process.poll() is None:
                nobody.wait(_TICK)
                waiting = int.from_bytes(
                    fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder
                )
            if entries(journal) >= until:
                return

    def stop(self, how: signal.Signals) -> Done:
        """Send a signal, and wait for the end."""
        self._process.send_signal(how)
        return self.end()

    def end(self) -> Done:
        """Wait for the end."""
        stdout, stderr = self._process.communicate()
        return Done(self._process.returncode, stdout, stderr.decode().splitlines())


def entries(journal: Path) -> int:
    """How many records a journal has, whole ones."""
    try:
        return max(0, journal.read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0
