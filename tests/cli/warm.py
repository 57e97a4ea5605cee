"""Commands as processes of their own, forked from one that has imported torch: 2 s less for each.

    run(directory, "embed", "x.fasta", "-o", "x.npz").status

What a command does from `main()` on is the same as from a shell, standard input and output are
pipes and files of its own, and it ends with its status; `Command` is one that is still running.
Tests of what is imported, or is missing, start Python anew.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "2"}


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["esm2.cli", "esm2.opening", "esm2.engine.engine"])
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "2"  # read when torch is imported
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
    return context


def run(
    directory: Path,
    *arguments: object,
    stdin: bytes = b"",
    largest_file: int = 0,
    environment: dict[str, str] = ENVIRONMENT,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end.

    Args:
        stdin: comes through a pipe.
        largest_file: bytes of a file at which the disk is full; 0 for never.
    """
    with Command(
        directory, *arguments, largest_file=largest_file, environment=environment
    ) as command:
        feeder = threading.Thread(target=_feed, args=(command.pipe, stdin))
        feeder.start()
        done = command.end()
        os.close(os.open(command.pipe, os.O_RDONLY | os.O_NONBLOCK))  # frees one nobody listens to
        feeder.join()
        return done


class Command:
    """A command that was started. Use it as a context manager: it does not outlive it.

    Args:
        directory, arguments, largest_file, environment: as of `run`.

    Attributes:
        pipe: its standard input, to be opened for writing.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: object,
        largest_file: int = 0,
        environment: dict[str, str] = ENVIRONMENT,
    ) -> None:
        self._words = [os.fspath(w) if isinstance(w, Path) else str(w) for w in arguments]
        self._own = TemporaryDirectory()
        self.pipe, self._out, self._told = (f"{self._own.name}/{n}" for n in ("in", "out", "told"))
        os.mkfifo(self.pipe)
        self._process = _context().Process(
            target=_command,
            args=(directory, self._words, environment, largest_file),
            kwargs={"files": (self.pipe, self._out, self._told)},
        )
        self._process.start()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._own.cleanup()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self) -> subprocess.CompletedProcess[bytes]:
        """Wait for its end."""
        self._process.join()
        assert self._process.exitcode is not None
        out, told = Path(self._out).read_bytes(), Path(self._told).read_bytes()
        return subprocess.CompletedProcess(self._words, self._process.exitcode, out, told)


def run_text(
    directory: Path,
    *arguments: object,
    stdin: str | None = None,
    environment: dict[str, str] = ENVIRONMENT,
) -> subprocess.CompletedProcess[str]:
    """The same with text."""
    done = run(directory, *arguments, stdin=(stdin or "").encode(), environment=environment)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def _feed(pipe: str, content: bytes) -> None:
    with suppress(BrokenPipeError), open(pipe, "wb") as file:  # noqa: PTH123  # a pipe
        file.write(content)


def _command(
    directory: Path,
    arguments: list[str],
    environment: dict[str, str],
    largest_file: int,
    *,
    files: tuple[str, str, str],
) -> None:
    write = os.O_WRONLY | os.O_CREAT
    for number, (path, flags) in enumerate(zip(files, (os.O_RDONLY, write, write), strict=True)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout = open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    if largest_file:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    sys.argv = ["esm2", *arguments]
    from esm2.cli import main

    main()
