"""How a finished file gets to its place, and what is beside it until then.

    dir/.esm2-ab12cd34.part/x.csv  ──put──>  dir/x.csv

The hidden directory is locked while its process lives, and the lock dies with it: what a killed
run has left is known by that, and cleared by the next one that writes beside it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from esm2.errors import FileError

_BEFORE, _AFTER = ".esm2-", ".part"
_LEFTOVERS = f"{_BEFORE}????????{_AFTER}"
_LOCK = ".lock"


def target(output: Path) -> Path:
    """The file that is meant: what a symbolic link points to, whether it is there or not.

    Raises:
        FileError: the link points to itself.
    """
    if not output.is_symlink():
        return output
    with suppress(RuntimeError):  # how Python before 3.13 says it
        found = output.resolve()
        if not found.is_symlink():
            return found
    raise FileError(output, "write", "it is a symbolic link that leads nowhere")


def put(made: Path, output: Path, *, force: bool = True) -> None:
    """Move a finished file to its place, with the mode of the one that it replaces.

    Args:
        force: it may replace one.

    Raises:
        FileExistsError: there is one, and it may not be replaced.
        OSError: it cannot be moved.
    """
    if force:
        with suppress(FileNotFoundError):
            made.chmod(stat.S_IMODE(output.stat().st_mode))
        made.replace(output)
        return
    try:
        output.hardlink_to(made)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(output):
            raise FileExistsError(output) from None
        made.replace(output)
    else:
        made.unlink()


@contextmanager
def beside(output: Path) -> Iterator[Path]:
    """A hidden file to write; whatever becomes of it, its directory is removed in the end.

    Args:
        output: the file to be, no link (`target`).

    Yields:
        the path of the hidden file, with the same name.

    Raises:
        OSError: there can be none.
    """
    clear(output.parent)
    directory, lock = _locked(output.parent)
    try:
        yield directory / output.name
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        lock.close()


def clear(directory: Path) -> None:
    """Remove what dead runs have left in a directory; never what a live one has."""
    for leftover in directory.glob(_LEFTOVERS):
        with suppress(OSError), (leftover / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)


def _locked(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new directory, locked; made again where another process has just cleared it."""
    while True:
        directory = Path(tempfile.mkdtemp(_AFTER, _BEFORE, parent))
        try:
            lock = (directory / _LOCK).open("wb")
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        except OSError:  # a file system without locks: nobody can clear there
            return directory, lock
        if os.fstat(lock.fileno()).st_nlink:
            return directory, lock
        lock.close()
