"""Where a file and what goes with it lie, and whether they may."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from esm2.errors import CannotResume, FileError
from esm2.files import placing


def work_directory(output: Path) -> Path:
    """Where what is made for a file is kept until the file is complete."""
    return output.with_name(f"{output.name}.part")


def rejects_path(output: Path) -> Path:
    """Where the records go that have no embedding."""
    return output.with_name(f"{output.name}.rejects.fasta")


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


def make_work_directory(directory: Path, ours: set[str], needed: str) -> bool:
    """Make it, unless it is there already and holds nothing but what we put there.

    It will be emptied and removed in the end, so it must be ours.

    Args:
        ours: the names that may be in it.
        needed: the one that must be there if any is.

    Returns:
        whether it was made.

    Raises:
        FileError: something else is there.
        OSError: it cannot be made.
    """
    try:
        directory.mkdir()
    except FileExistsError:
        if not directory.is_dir():
            reason = "it is there already, and not a directory; move it away"
            raise FileError(directory, "use", reason) from None
    else:
        return True
    names = {path.name for path in directory.iterdir()}
    if names and (needed not in names or not names <= ours):
        refuse_foreign(directory)
    return False


def refuse_busy(directory: Path) -> NoReturn:
    """Another process has it.

    Raises:
        CannotResume: always.
    """
    busy = "another process is writing it now"
    raise CannotResume(directory, [busy], "wait for it, or name another output") from None


def refuse_foreign(directory: Path) -> None:
    """It is there, and not ours.

    Raises:
        FileError: always.
    """
    reason = "it is there already, and not a work directory of esm2; move it away"
    raise FileError(directory, "use", reason)
