"""Bytes to a server as they are, and what comes back."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass

from tests.wire.server import PATIENCE, Server


@dataclass(frozen=True)
class Said:
    """What a connection said until it was closed, or until its first whole answer."""

    bytes: bytes

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", self.bytes)]

    @property
    def last(self) -> dict[str, str]:
        """The JSON of the last answer."""
        content: dict[str, str] = json.loads(self.bytes.rpartition(b"\r\n\r\n")[2])
        return content


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.address, timeout=PATIENCE)


def everything(connection: socket.socket) -> Said:
    """What comes until the server closes."""
    said = b""
    try:
        while got := connection.recv(1 << 16):
            said += got
    except ConnectionError:
        pass  # cut, which is an answer as well
    return Said(said)


def say(server: Server, content: bytes, *, last: bool = True) -> Said:
    """Send bytes and read until the server closes.

    Args:
        last: say that nothing follows, as far as the sending side is closed.
    """
    with connect(server) as connection:
        try:
            connection.sendall(content)
            if last:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        return everything(connection)


def alive(server: Server) -> bool:
    return server.get("/health/live").status == 200
