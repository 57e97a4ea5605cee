"""A real `esm2 serve` in a process of its own, and what one says to it.

    with serving("--model", "my-slug=/path", tokens="secret") as server:
        server.post("/api/v2/my-slug/encode/", {"items": [{"sequence": "MKT"}]}).json()

The server picks a free port; it is up when its first line, which has the address, is there.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: How long a server may take to start, to answer or to stop before the test fails.
PATIENCE = 60
ESM2 = Path(sys.executable).with_name("esm2")

#: A body, or the chunks of one.
Body = bytes | Iterable[bytes]


@dataclass(frozen=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A running server.

    Attributes:
        url: "http://127.0.0.1:PORT".
        headers: sent with every request; the token, where there is one.
    """

    def __init__(self, process: subprocess.Popen[str], headers: Mapping[str, str]) -> None:
        self._process = process
        self._stderr: list[str] = []
        arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._follow, args=(arrived,))
        self._reader.start()
        found = None
        while found is None and (line := arrived.get(timeout=PATIENCE)):
            found = re.search(r"listening on (http://\S+)", line)
        if not found:
            process.wait(PATIENCE)
            self._reader.join()
            raise RuntimeError(f"the server did not start: {''.join(self._stderr)}")
        self.url = found[1]
        self.headers = dict(headers)

    def _follow(self, arrived: queue.SimpleQueue[str]) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._stderr.append(line)
            arrived.put(line)
        arrived.put("")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    @property
    def said(self) -> str:
        """Standard error so far."""
        return "".join(self._stderr)

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open between requests."""
        return http.client.HTTPConnection(*self.address, timeout=PATIENCE)

    def request(
        self, method: str, path: str, body: Body = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; an iterable body is sent in chunks.

        Args:
            headers: beside the server's own; None as a value takes one of those away.
        """
        given = {**self.headers, **(headers or {})}
        connection = self.connect()
        try:
            connection.request(
                method, path, body, {k: v for k, v in given.items() if v is not None}
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, content: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Bytes and iterators as they are, everything else as JSON. No Content-Type is added."""
        if not isinstance(content, bytes | Iterator):
            content = json.dumps(content).encode()
        return self.request("POST", path, content, headers)

    def results(self, slug: str, action: str, *sequences: str, **params: Any) -> list[Any]:
        """The results of a request that must succeed."""
        body = {"items": [{"sequence": sequence} for sequence in sequences], "params": params}
        answer = self.post(f"/api/v2/{slug}/{action}/", body)
        assert answer.status == 200, answer.body[:500]
        return answer.json()["results"]

    def printed_curl(self) -> str:
        """The call to paste, from standard output."""
        assert self._process.stdout
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if "--data" in line:
                break
        return "".join(lines)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Stop it; exit status and all of standard error."""
        self._process.send_signal(with_signal)
        status = self._process.wait(PATIENCE)
        self._reader.join()
        return status, "".join(self._stderr)


@contextmanager
def serving(*flags: str, tokens: str = "", after: str = "") -> Iterator[Server]:
    """A server with these flags, killed at the end if the test did not stop it.

    Args:
        tokens: ESM2_TOKENS; the first of them is sent with every request.
        after: what a shell does first, such as "ulimit -n 64".
    """
    token = tokens.partition(",")[0].strip()
    headers = {"Authorization": f"Token {token}"} if token else {}
    with subprocess.Popen(
        [*(_shell(after) if after else ()), ESM2, "serve", "--port", "0", *flags],
        env=environment(**({"ESM2_TOKENS": tokens} if tokens else {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process, headers)
        finally:
            process.kill()


def _shell(first: str) -> list[str]:
    return ["bash", "-c", f'{first}; exec "$@"', "bash"]


def not_starting(*flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A server that ends by itself."""
    return subprocess.run(
        [ESM2, "serve", *flags],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of ours, a hub or a proxy in it."""
    hidden = re.compile(r"ESM2_|HF_|(https?|all|no)_proxy$", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not hidden.match(name)}
    return kept | {"HF_HUB_OFFLINE": "1"} | variables
