"""Output files: what is made is kept in a journal, and written in one of these formats in the end.

    Embedded ──> Journal (OUT.h5.part/) ──> OUT.h5 + OUT.h5.rejects.fasta

A file is complete or does not exist: it is written beside its place and moved there. That takes
as much free space again as the file itself. What it contains depends on the run and the input
alone, not on how often the run was interrupted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from esm2.errors import FileError, MissingExtra
from esm2.files.journal import Journal
from esm2.files.names import duplicates
from esm2.files.place import check_place, rejects_path, replaced, spelled, work_directory
from esm2.files.placing import beside, put, target
from esm2.files.run import Entry, Kept, Run
from esm2.files.stored import Stored, guarded

__all__ = [
    "FORMATS",
    "Entry",
    "Format",
    "Journal",
    "Kept",
    "Run",
    "Stored",
    "beside",
    "check_place",
    "commit",
    "commit_rejects",
    "duplicates",
    "find",
    "put",
    "read",
    "rejects_path",
    "replaced",
    "spelled",
    "target",
    "work_directory",
]

Write = Callable[[Path, Kept, Mapping[str, object]], list[str]]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of its name, with the dot.
        module, function: what writes it; loaded when it is needed.
        reads: whether the module has a `read`, too (`stored.py`).
        package, extra: the package that it takes, and the extra that brings it; may be empty.
        vectors: whether it holds one row a record alone, so not per_token.
        single: whether it holds only one kind of one layer.
    """

    suffix: str
    module: str
    function: str = "write"
    package: str = ""
    extra: str = ""
    vectors: bool = False
    single: bool = False
    reads: bool = False

    def objection(self, include: Sequence[str], layers: int) -> str | None:
        """Why it cannot hold what is asked for; None if it can."""
        if self.single and (len(include) > 1 or layers > 1):
            return f"{self.suffix} holds one kind of one layer; .npz and .safetensors hold several"
        if self.vectors and "per_token" in include:
            return f"{self.suffix} holds a vector a record; take .h5, .npz or .safetensors"
        return None

    def load(self) -> Write:
        """What writes it.

        Raises:
            MissingExtra: the package that it takes is not installed.
        """
        write: Write = getattr(self._module(), self.function)
        return write

    def read(self, path: Path) -> Stored:
        """What it has.

        Raises:
            MissingExtra: the package that it takes is not installed.
            FileError: it cannot be read, or has not one vector for each record.
        """
        return guarded(path, self._module().read)

    def _module(self) -> Any:
        try:
            return import_module(f"esm2.files.{self.module}")
        except ModuleNotFoundError as error:
            raise MissingExtra(self.package, self.extra) from error


FORMATS = {
    format.suffix: format
    for format in (
        Format(".h5", "hdf5", package="h5py", extra="h5", single=True, reads=True),
        Format(".parquet", "parquet", package="pyarrow", extra="parquet", vectors=True, reads=True),
        Format(".npz", "npz", reads=True),
        Format(".safetensors", "tensors", reads=True),
        Format(".h5ad", "h5ad", package="h5py", extra="h5", vectors=True, reads=True),
        Format(".csv", "text", "write_csv", vectors=True, single=True),
        Format(".jsonl", "text", "write_jsonl"),
    )
}


def find(output: Path) -> Format | None:
    """The format of a file, by its ending."""
    return FORMATS.get(output.suffix.lower())


def read(path: Path | str) -> Stored:
    """A file of embeddings that `esm2 embed` wrote, with one vector for each record.

    Raises:
        FileError: it is no such file, has another number of vectors, or cannot be read.
        MissingExtra: what reads it is not installed.
    """
    path = Path(path)
    format = find(path)
    if format is None or not format.reads:
        known = ", ".join(suffix for suffix, each in FORMATS.items() if each.reads)
        silent = "a .csv or .jsonl does not say by which model it was made; " if format else ""
        raise FileError(path, "read", f"{silent}the files that can be read again are {known}")
    return format.read(path)


def commit(
    output: Path, journal: Journal, meta: Mapping[str, object], *, force: bool = False
) -> list[str]:
    """Write the file and the rejects, replacing those of an earlier run, and drop the journal.

    Args:
        meta: how it was made, JSON values.
        force: a file that is there may be replaced.

    Returns:
        what has to be said about the file, a sentence each.

    Raises:
        FileError: the disk is full, or failed, or there is a file that may not be replaced; there
            is none then, or still the old one, and the journal stays.
    """
    write = FORMATS[journal.run.format].load()
    assembled, _ = journal.assembled
    try:
        notes = write(assembled, journal, meta)
        _settle(assembled)
        if not force and os.path.lexists(output):  # nor may the rejects that belong to it
            raise FileExistsError(output)
        _put_rejects(output, journal)
        put(assembled, output, force=force)
    except OSError as error:
        with suppress(OSError):
            assembled.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError):
            reason = "it has been made meanwhile; move it away, or --force writes over it"
        raise FileError(output, "write", reason) from error
    journal.discard()
    return notes


def commit_rejects(output: Path, journal: Journal) -> None:
    """Put the rejects in their place, replacing those of an earlier run.

    Raises:
        FileError: the disk is full, or failed; the journal stays.
    """
    try:
        _put_rejects(output, journal)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(rejects_path(output), "write", reason) from error


def _put_rejects(output: Path, journal: Journal) -> None:
    rejects = rejects_path(output)
    if journal.rejected:
        _, copy = journal.assembled
        shutil.copyfile(journal.rejects, copy)
        put(copy, rejects)
    else:  # an earlier run's would be mistaken for this one's
        rejects.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Wait until it is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
