"""The sockets on which a server listens."""

from __future__ import annotations

import socket

from esm2.errors import SettingsError

# A peer that is gone without a word is found out after 60 + 3 x 20 seconds.
_IDLE, _BETWEEN, _PROBES = 60, 20, 3


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
