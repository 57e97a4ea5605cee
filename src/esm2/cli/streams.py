"""The standard streams where they are closed, full, or read by nobody.

A supervisor may start a program without them. What is opened next, a socket perhaps, would then be
standard output to whatever prints there. So they are opened on nothing first: all of a server,
which starts, serves and ends without them; of every other command standard error, where nothing
is that was asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def usable() -> Iterator[None]:
    """Files 0, 1 and 2, and Python's streams on them, can be used inside."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this
            os.set_inheritable(number, True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        # What could not be written would make Python end with status 120.
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except (OSError, ValueError):
                setattr(sys, name, None)


def error_usable() -> None:
    """File 2, and Python's stream on it, can be used from now on."""
    if sys.stderr is not None:
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    if nothing != 2:
        os.close(nothing)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def tell(text: str) -> None:
    """One line, or more, on standard output, as far as it takes them."""
    with suppress(OSError):
        print(text, flush=True)
