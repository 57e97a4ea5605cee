"""A port to listen at for a client that can only speak to one.

    the port is free    ->  a socket that listens there
    it is taken         ->  a socket that listens there in a network of its own, where the client is
                            then run: it was made there, and is accepted from here

For the second, Linux must let this user make a namespace (`unshare`).
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41  # linux/sockios.h, linux/if.h
_UNSHARE = ("unshare", "--user", "--map-root-user", "--net")


@contextmanager
def listening(port: int) -> Iterator[tuple[socket.socket, tuple[str, ...]]]:
    """A listening socket, and what to put before a command that is to reach it; 0 for any port.

    Raises:
        OSError: the port is taken, and a network of one's own is not allowed.
    """
    try:
        own = socket.create_server(("127.0.0.1", port))
    except OSError:
        if not shutil.which("unshare"):
            raise
        with _another_network(port) as found:
            yield found
    else:
        with own:
            yield own, ()


@contextmanager
def _another_network(port: int) -> Iterator[tuple[socket.socket, tuple[str, ...]]]:
    here, there = socket.socketpair()
    with here, there:
        command = [*_UNSHARE, sys.executable, __file__, str(there.fileno()), str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[there.fileno()]) as process:
            there.close()
            _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
            if not descriptors:
                raise OSError("a network of its own is not allowed here")
            enter = ("nsenter", f"--target={process.pid}", "--user", "--net")
            with socket.socket(fileno=descriptors[0]) as own:
                yield own, (*enter, "--preserve-credentials")


def _inside(descriptor: int, port: int) -> None:
    """In the other network: listen, hand the socket over, stay until standard input ends."""
    with socket.socket() as any_socket:
        up = struct.pack("16sH14x", b"lo", _UP_AND_RUNNING)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, up)
    with socket.create_server(("127.0.0.1", port)) as own, socket.socket(fileno=descriptor) as out:
        socket.send_fds(out, [b"."], [own.fileno()])
    sys.stdin.read()


if __name__ == "__main__":
    _inside(*map(int, sys.argv[1:]))
