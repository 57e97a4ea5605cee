"""A small hub on loopback that speaks the file API which huggingface_hub uses.

    HEAD, GET /{repo}/resolve/{revision}/{file}     hub:      X-Repo-Commit, ETag = git blob sha1
        a large file: 302 to the storage                      X-Linked-Etag = sha256, X-Linked-Size
    GET /{sha256}                                   storage:  the bytes, Range honoured

As in the real one, the storage has another origin (here another port). Every request is recorded.
What goes wrong is put into `faults`: one entry for each coming request of that file's bytes.

`Machine` is the other side: a cache, and a process of its own for each call of `esm2.hub`, because
huggingface_hub reads its environment when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from esm2.catalog import Checkpoint, HubFile, Shape

REPO = "someone/esm2_tiny"
REVISION = "5e" * 20

# Seconds until a server notices that it shall stop.
_POLL = 0.01


@dataclass(frozen=True)
class Cut:
    """Close the connection after so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Refuse:
    """Answer with this status and no file."""

    status: int


@dataclass(frozen=True)
class Lie:
    """Send other bytes of the same length under the file's own ETag."""


@dataclass(frozen=True)
class IgnoreRange:
    """Answer a Range request with 200 and the whole file."""


Fault = Cut | Refuse | Lie | IgnoreRange


@dataclass(frozen=True)
class Seen:
    """One request: to "hub" or "storage"."""

    server: str
    method: str
    file: str
    range: str | None
    token: str | None


def git_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(body), body)).hexdigest()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@dataclass
class Hub:
    """What the hub has and does; change it between requests.

    Attributes:
        files: name -> content.
        large: the names that are kept in the storage, by sha256.
        faults: name -> what happens to the next requests of its bytes, in turn.
        status: if set, the answer to every request at the hub.
        revision: the only one that it has.
        commit: if set, the revision in its answers.
        stated_size: if set, what it says large files to have.
        stated_etag: if set, the ETag of every file.
    """

    files: dict[str, bytes]
    large: frozenset[str] = frozenset({"model.safetensors"})
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    status: int | None = None
    revision: str = REVISION
    commit: str | None = None
    stated_size: int | None = None
    stated_etag: str | None = None
    requests: list[Seen] = field(default_factory=list)
    endpoint: str = ""
    storage: str = ""

    def etag(self, name: str) -> str:
        body = self.files[name]
        return self.stated_etag or (sha256(body) if name in self.large else git_sha1(body))

    def digest(self, name: str) -> str:
        kind = "sha256" if name in self.large else "git-sha1"
        return f"{kind}:{self.etag(name)}"

    def checkpoint(self, digests: Mapping[str, str] | None = None) -> Checkpoint:
        """A catalog row of these files, with their digests or those given."""
        rows = {name: self.digest(name) for name in self.files} | dict(digests or {})
        files = tuple(HubFile(name, digest) for name, digest in rows.items())
        return Checkpoint("esm2-tiny", "esm2_tiny", REPO, Shape(2, 32, 4), self.revision, files)

    def asked(self) -> list[Seen]:
        """The requests for files; huggingface_hub has a question of its own besides, /api/..."""
        return [seen for seen in self.requests if not seen.file.startswith("api/")]

    def bodies(self, name: str) -> list[Seen]:
        """The requests for the bytes of a file, redirects left out."""
        server = "storage" if name in self.large else "hub"
        return [
            seen
            for seen in self.requests
            if (seen.server, seen.method, seen.file) == (server, "GET", name)
        ]

    def next_fault(self, name: str) -> Fault | None:
        queue = self.faults.get(name)
        return queue.popleft() if queue else None


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the hub on two free ports of 127.0.0.1."""
    servers = {
        name: ThreadingHTTPServer(("127.0.0.1", 0), _handler(name, hub))
        for name in ("hub", "storage")
    }
    hub.endpoint, hub.storage = (
        f"http://127.0.0.1:{server.server_port}" for server in servers.values()
    )
    threads = [
        threading.Thread(target=server.serve_forever, args=(_POLL,)) for server in servers.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers.values(), threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(server: str, hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def log_message(self, *args: object) -> None:
            pass

        def answer(self) -> None:
            path = self.path.removeprefix("/")
            if server == "storage":
                name = next((n for n, body in hub.files.items() if sha256(body) == path), path)
            else:
                _, _, name = path.partition(f"/resolve/{hub.revision}/")
            wanted, token = self.headers["Range"], self.headers["Authorization"]
            hub.requests.append(Seen(server, self.command, name or path, wanted, token))
            if server == "hub" and hub.status:
                self.refuse(hub.status)
            elif name not in hub.files:
                self.refuse(404)
            elif server == "hub" and name in hub.large:
                self.redirect(name)
            else:
                self.send_file(name, wanted)

        def refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def redirect(self, name: str) -> None:
            body = hub.files[name]
            self.send_response(302)
            self.send_header("Location", f"{hub.storage}/{sha256(body)}")
            self.send_header("X-Repo-Commit", hub.commit or hub.revision)
            self.send_header("X-Linked-Etag", f'"{hub.etag(name)}"')
            self.send_header("X-Linked-Size", str(hub.stated_size or len(body)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send_file(self, name: str, wanted: str | None) -> None:
            body, fault = hub.files[name], None
            if self.command == "GET":
                fault = hub.next_fault(name)
            if isinstance(fault, Refuse):
                self.refuse(fault.status)
                return
            if isinstance(fault, Lie):
                body = bytes(len(body))
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if isinstance(fault, IgnoreRange):
                start = 0
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", hub.commit or hub.revision)
            self.send_header("ETag", f'"{hub.etag(name)}"')
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if self.command == "GET":
                end = start + fault.after if isinstance(fault, Cut) else len(body)
                self.wfile.write(body[start:end])
                self.close_connection = isinstance(fault, Cut)

    return Handler


# --- a machine that fetches from it ------------------------------------------------------------

CHILD = """
import json, sys
from esm2 import hub
from esm2.catalog import Checkpoint, HubFile, Shape
from esm2.errors import Esm2Error

action, row = sys.argv[1], json.loads(sys.argv[2])
row["shape"] = Shape(**row["shape"])
row["files"] = tuple(HubFile(**file) for file in row["files"])
said = []
try:
    arguments = {"say": said.append} if action == "fetch" else {}
    result = str(getattr(hub, action)(Checkpoint(**row), **arguments))
    print(json.dumps({"result": result, "said": said}))
except Esm2Error as error:
    named = {"error": type(error).__name__, "message": str(error), "said": said}
    print(json.dumps(named))
"""


@dataclass
class Answer:
    """What a call gave: the text of its result, or its error; and what it said meanwhile."""

    result: str | None = None
    error: str | None = None
    message: str = ""
    said: tuple[str, ...] = ()


@dataclass
class Machine:
    """A machine with a Hugging Face cache of its own."""

    home: Path
    endpoint: str

    @property
    def cache(self) -> Path:
        return self.home / "hub"

    @property
    def storage(self) -> Path:
        return self.cache / "models--someone--esm2_tiny"

    def snapshot(self, revision: str = REVISION) -> Path:
        return self.storage / "snapshots" / revision

    def blobs(self) -> list[str]:
        return sorted(path.name for path in self.storage.glob("blobs/*"))

    def run(self, *arguments: str, **variables: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HF_HOME": str(self.home),
            "HF_ENDPOINT": self.endpoint,
            "NO_PROXY": "127.0.0.1",
        } | variables
        done = subprocess.run(
            [sys.executable, "-c", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, action: str, checkpoint: Checkpoint, **variables: str) -> Answer:
        row = json.dumps(asdict(checkpoint))
        answer: dict[str, Any] = json.loads(self.run(CHILD, action, row, **variables))
        return Answer(**answer | {"said": tuple(answer["said"])})

    def fetch(self, checkpoint: Checkpoint, **variables: str) -> Answer:
        return self.call("fetch", checkpoint, **variables)

    def has(self, checkpoint: Checkpoint) -> bool:
        return self.call("locate", checkpoint).result == str(self.snapshot())

    def put(self, checkpoint: Checkpoint, bodies: dict[str, bytes]) -> None:
        """A cache as huggingface_hub leaves it."""
        for file in checkpoint.files:
            blob = self.storage / "blobs" / file.digest.partition(":")[2]
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(bodies[file.name])
            self.snapshot().mkdir(parents=True, exist_ok=True)
            (self.snapshot() / file.name).symlink_to(f"../../blobs/{blob.name}")
