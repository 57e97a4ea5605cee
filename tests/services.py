"""A real PostgreSQL and a real Redis for tests, from Debian's packages; stopped and started again.

    with postgresql() as database: database.url; database.stop(); database.start()

Where they are not installed, the tests that need them are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 60
_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
#: PostgreSQL refuses to run as root; Debian's package makes this user.
_USER = "postgres"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(true: Callable[[], bool], what: str) -> None:
    """Ask again and again until it is true."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > PATIENCE:
            raise TimeoutError(what)
        threading.Event().wait(0.02)


class Service:
    """A server program on loopback that a test can stop and start.

    Attributes:
        url: for clients.
    """

    def __init__(self, url: str, port: int, command: list[str | Path]) -> None:
        self.url = url
        self._port = port
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, f"{self._command[0]} does not start")

    def _answers(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._command} ended: {self._process.returncode}")
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self._port)) == 0

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGINT)  # PostgreSQL does not wait for clients then
            self._process.wait(PATIENCE)
            self._process = None


@contextmanager
def redis() -> Iterator[Service]:
    """Redis or Valkey, in memory."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if not program:
        pytest.skip("neither redis-server nor valkey-server is installed")
    port = free_port()
    flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    service = Service(f"redis://127.0.0.1:{port}/0", port, [program, *flags])
    service.start()
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def postgresql() -> Iterator[Service]:
    """A cluster of its own, that trusts whoever comes by loopback."""
    if not _BINARIES:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="esm2-postgresql-") as data:
        yield from _cluster(data)


def _cluster(data: str) -> Iterator[Service]:
    port = free_port()
    runs_as: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(data, _USER, _USER)
        runs_as = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
    programs = _BINARIES[-1]
    subprocess.run(
        [*runs_as, programs / "initdb", "-D", data, "-U", _USER, "--auth=trust", "--no-sync"],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
        cwd="/",
    )
    flags = ["-D", data, "-p", str(port), "-k", "", "-h", "127.0.0.1", "-c", "fsync=off"]
    url = f"postgresql://{_USER}@127.0.0.1:{port}/postgres"
    service = Service(url, port, [*runs_as, programs / "postgres", *flags])
    service.start()
    until(lambda: _takes_connections(url), "PostgreSQL takes no connections")
    try:
        yield service
    finally:
        service.stop()


def _takes_connections(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
