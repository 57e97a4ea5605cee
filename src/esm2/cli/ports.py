"""The sockets on which a server listens."""

from __future__ import annotations

import ipaddress
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from esm2.errors import SettingsError

# A peer that is gone without a word is found out after 60 + 3 x 20 seconds.
_IDLE, _BETWEEN, _PROBES = 60, 20, 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server can be reached.

    Attributes:
        url: to paste.
        beside: what else there is to say of it.
        curl: the command, with what it needs to get there.
    """

    url: str
    beside: str = ""
    curl: str = "curl"


def place(listener: socket.socket, host: str) -> Place:
    """Where a listener can be reached; of all addresses of this machine, by loopback.

    Args:
        host: as it was given.
    """
    if listener.family == socket.AF_UNIX:
        path = listener.getsockname()
        return Place("http://localhost", f" by {path}", f"curl --unix-socket {shlex.quote(path)}")
    address, port = listener.getsockname()[:2]
    beside = ""
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
        beside = " and every other address of this machine"
    return Place(f"http://{f'[{host}]' if ':' in host else host}:{port}", beside)


@contextmanager
def listen_unix(path: str) -> Iterator[socket.socket]:
    """A Unix socket that is ours alone, taken away in the end; who may see its directory may ask.

    Raises:
        SettingsError: it is another server's, or there is something else, or no way to make it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            _clear(Path(path))
            listener.bind(path)
            Path(path).chmod(0o666)
            listener.listen()
        except OSError as error:
            reason = error.strerror or error
            raise SettingsError(
                f"cannot listen on {path}: {reason}; choose another with --uds"
            ) from error
        try:
            yield listener
        finally:
            Path(path).unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Take away the socket of a server that is dead."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(None, "there is a file of that name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        try:
            knock.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise FileExistsError(None, "a server listens there")


def listen(host: str, port: int, flags: str) -> socket.socket:
    """A socket that is ours alone. Callers who come while the models load wait for an answer.

    Args:
        flags: that choose them.

    Raises:
        SettingsError: the address is taken, or not one of this machine.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _keep_alive(listener)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(
            f"cannot listen on {host}:{port}: {reason}; choose another with {flags}"
        ) from error
    return listener


def _keep_alive(listener: socket.socket) -> None:
    """Accepted connections inherit these."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE),
        ("TCP_KEEPINTVL", _BETWEEN),
        ("TCP_KEEPCNT", _PROBES),
    ):
        if hasattr(socket, name):  # not everywhere
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
