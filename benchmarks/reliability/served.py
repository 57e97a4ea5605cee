"""A real `esm2 serve`, and what its processes hold: memory, files, threads."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

ESM2 = Path(sys.executable).with_name("esm2")
PATIENCE = 120
SLUG = "esm2-demo"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Held:
    """What the server and its workers hold together."""

    rss_mb: float
    files: int
    threads: int
    processes: int


class Served:
    """A running server."""

    def __init__(self, port: int, flags: tuple[str, ...], tokens: str) -> None:
        self.port = port
        self._errors = Path(tempfile.mkstemp(prefix="esm2-served-")[1])
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [ESM2, "serve", "--port", str(port), *flags],
                env={**os.environ, **({"ESM2_TOKENS": tokens} if tokens else {})},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def wait_until_ready(self) -> float:
        """Seconds until it is."""
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended: {self.said()}")
            if self.ready():
                return time.monotonic() - begun
            time.sleep(0.02)
        raise SystemExit("the server is not ready")

    def ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def said(self) -> str:
        return self._errors.read_text(encoding="utf-8")

    def workers(self) -> list[int]:
        return _children(self.process.pid)

    def held(self) -> Held:
        pids = [self.process.pid, *self.workers()]
        parts = [part for pid in pids if (part := _of_process(pid)) is not None]
        return Held(
            rss_mb=round(sum(rss for rss, _, _ in parts), 1),
            files=sum(files for _, files, _ in parts),
            threads=sum(threads for _, _, threads in parts),
            processes=len(parts),
        )

    def zombies(self) -> int:
        states = [_status(pid).get("State", "") for pid in self.workers()]
        return sum(state.startswith("Z") for state in states)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Exit status, and the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(with_signal)
        status = self.process.wait(PATIENCE)
        self.close()
        return status, time.monotonic() - begun

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._errors.unlink(missing_ok=True)


@contextmanager
def served(*flags: str, tokens: str = "", port: int = 0) -> Iterator[Served]:
    """A server that is ready; killed at the end if it was not stopped."""
    own = Served(port or free_port(), flags, tokens)
    try:
        own.wait_until_ready()
        yield own
    finally:
        own.close()


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(own) for task in tasks for own in (task / "children").read_text().split()]
    except OSError:
        return []


def _status(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def _of_process(pid: int) -> tuple[float, int, int] | None:
    try:
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    status = _status(pid)
    if "VmRSS" not in status:
        return None
    return int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"])
