"""Values between this process and a child that it started: pickles, large arrays beside them.

Both ends are ours and share no name that others could reach, so what arrives is as trusted as this
process. Large arrays travel as they lie in memory: neither end copies them into a pickle.
"""

from __future__ import annotations

import pickle
import socket
import struct
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COUNT = struct.Struct("<I")
_SIZE = struct.Struct("<Q")
_LARGE = 1 << 16  # bytes, from which an array is sent by itself


def send(channel: socket.socket, value: object, deadline: float | None) -> None:
    """Send a value.

    Args:
        deadline: of time.monotonic(), by which it must have been taken.

    Raises:
        TimeoutError: it was not.
        OSError: the other end is gone.
    """
    beside: list[memoryview] = []

    def within(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _LARGE:
            return True
        beside.append(view)
        return False

    parts = [memoryview(pickle.dumps(value, protocol=5, buffer_callback=within)), *beside]
    sizes = b"".join(_SIZE.pack(part.nbytes) for part in parts)
    for part in (memoryview(_COUNT.pack(len(parts)) + sizes), *parts):
        _allow(channel, deadline)
        channel.sendall(part)


def receive(channel: socket.socket, deadline: float | None) -> Any:
    """The next value.

    Raises:
        TimeoutError: it was not there by the deadline.
        EOFError, OSError: the other end is gone.
    """
    (count,) = _COUNT.unpack(_exactly(channel, _COUNT.size, deadline).data)
    # Bytes, and no memoryview: where the other end is cut off in the middle of a value, the error
    # keeps what iterates over it, and CPython before 3.12.7 dies when it collects both.
    sizes = _exactly(channel, count * _SIZE.size, deadline).tobytes()
    value, *beside = (_exactly(channel, size, deadline) for (size,) in _SIZE.iter_unpack(sizes))
    return pickle.loads(value.data, buffers=beside)  # noqa: S301  of our own child or parent


def _exactly(channel: socket.socket, size: int, deadline: float | None) -> NDArray[np.uint8]:
    # Not a bytearray: filling megabytes with zeros would hold up every other thread. Nor a
    # memoryview: of one with an array on it, in what is left when it exits, CPython 3.11 dies.
    content = np.empty(size, np.uint8)
    left = content.data
    while left:
        _allow(channel, deadline)
        got = channel.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]
    return content


def _allow(channel: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        channel.settimeout(None)
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    channel.settimeout(left)
