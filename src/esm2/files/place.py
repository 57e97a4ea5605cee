"""Where a file and what goes with it lie, and whether they may."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from esm2.errors import CannotResume, FileError
from esm2.files import placing


def work_directory(output: Path) -> Path:
    """Where what is made for a file is kept until the file is complete."""
    return output.with_name(f"{output.name}.part")


def rejects_path(output: Path) -> Path:
    """Where the records go that have no embedding."""
    return output.with_name(f"{output.name}.rejects.fasta")


def spelled(path: str | Path) -> str:
    """The name of a file as text that any file can hold: a byte of it that is not UTF-8 is
    `\\udcff`, as in what is told on standard error."""
    return str(path).encode(errors="backslashreplace").decode()


def replaced(output: Path, source: str) -> Path | None:
    """What a run would write over, if that is its own input."""
    for path in (output, rejects_path(output)):
        with suppress(OSError):  # one is not there, or may not be looked at: told when it is read
            if path.samefile(source):
                return path
    return None


def check_place(output: Path, *, force: bool) -> None:
    """Refuse a name under which there could be no file; clear what dead runs have left beside it.

    Args:
        force: a file that is there may be written over.

    Raises:
        FileError: why.
    """
    parent = output.parent
    reason = None
    if not parent.is_dir():
        reason = f"there is no directory {parent}; make it first"
    elif output.is_dir():
        reason = "it is a directory; name a file"
    elif not os.access(parent, os.W_OK | os.X_OK):
        reason = f"no permission to write in {parent}"
    elif output.exists():
        if not output.is_file():
            reason = "it is there, and not an ordinary file"
        elif not force:
            reason = "it is there already; --force writes over it"
        elif not os.access(output, os.W_OK):
            reason = "it is write-protected"
    if reason:
        raise FileError(output, "write", reason)
    placing.clear(parent)


def take_directory(directory: Path, ours: set[str], journal: str) -> BinaryIO:
    """Have a work directory for this process alone; it is made unless it is there.

    Args:
        ours: the names that may be in it.
        journal: the one of them that must be there if any is.

    Returns:
        the journal; its lock, and so the directory, is ours until it is closed.

    Raises:
        CannotResume: another process has it.
        FileError: something else is there.
        OSError: it cannot be made.
    """
    while True:
        try:
            _make(directory, ours, journal)
            file = open_or_make(directory / journal)
        except OSError as error:
            with suppress(OSError):  # an empty one is nobody's
                directory.rmdir()
            if isinstance(error, FileNotFoundError) and directory.parent.is_dir():
                continue  # another process has just removed it
            raise
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()  # another process has just removed it
        except BlockingIOError:
            file.close()
            busy = "another process is writing it now"
            raise CannotResume(directory, [busy], "wait for it, or name another output") from None
        except BaseException:
            file.close()
            raise


def _make(directory: Path, ours: set[str], journal: str) -> None:
    """It will be emptied and removed in the end, so what is in it must be ours."""
    try:
        directory.mkdir()
    except FileExistsError:
        if not directory.is_dir():
            reason = "it is there already, and not a directory; move it away"
            raise FileError(directory, "use", reason) from None
    names = {path.name for path in directory.iterdir()}
    if names and (journal not in names or not names <= ours):
        refuse_foreign(directory)


def open_or_make(path: Path) -> BinaryIO:
    """A file to read and write, not buffered.

    Raises:
        OSError: it cannot be opened or made.
    """
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", 0)


def refuse_foreign(directory: Path) -> None:
    """It is there, and not ours.

    Raises:
        FileError: always.
    """
    reason = "it is there already, and not a work directory of esm2; move it away"
    raise FileError(directory, "use", reason)
