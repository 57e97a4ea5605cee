"""The work directory of a run: what is made is kept at once, so an interrupted run can go on.

    OUT.h5.part/
    ├── journal.jsonl     line 1: the run; then an Entry for each record, in input order
    ├── mean, bos, per_token      rows of the records with embeddings, end to end, float32
    └── rejects.fasta     the records without

A record's rows are written before its entry, and each write goes to the operating system at once:
whenever the process dies, what the journal has an entry for is there. When a run goes on, entries
are believed as far as they and the rows behind them are complete and have their CRC; what lies
beyond is cut off. Only one process at a time has the directory (a lock that dies with it).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, NoReturn, Self

import numpy as np

from esm2.errors import CannotResume, FileError
from esm2.files import lines
from esm2.files.place import open_or_make, refuse_foreign, take_directory, work_directory
from esm2.files.run import Entry, Run
from esm2.pooling import KINDS
from esm2.types import Float, Outputs, Record

_JOURNAL = "journal.jsonl"
_REJECTS = "rejects.fasta"
_ASSEMBLED = ("assembled", "assembled.rejects")
_OURS = {*KINDS, _REJECTS, *_ASSEMBLED, _JOURNAL}
_FLOAT = np.dtype("<f4")
_PIECE = 1 << 20


class Journal:
    """Keeps what became of one record after another. Use it as a context manager.

    Args:
        output: the file to be.
        run: how its embeddings are made.
        keep: kinds whose rows are kept here; all of the run's unless given.
        restart: throw away what an earlier run kept.

    Attributes:
        directory: the work directory.
        run: as given.
        count, residues: records with embeddings, and the residues these are of.
        rejected: records without.
        resumed: entries that were there already.
    """

    def __init__(
        self, output: Path, run: Run, *, keep: Sequence[str] | None = None, restart: bool = False
    ) -> None:
        self.directory = work_directory(output)
        self.run = run
        self.count = 0
        self.residues = 0
        self.rejected = 0
        self.resumed = 0
        self._output = output
        self._restart = restart
        keep = run.include if keep is None else keep
        self._kinds = tuple(kind for kind in KINDS if kind in keep)
        self._files: dict[str, BinaryIO] = {}
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        """Make the work directory, or take up what is in it.

        Raises:
            CannotResume: it is that of another run, or another process has it.
            FileError: it cannot be made or read.
        """
        new = False
        try:
            with self._failing():
                journal = self._keep(_JOURNAL, take_directory(self.directory, _OURS, _JOURNAL))
                new = not os.fstat(journal.fileno()).st_size
                self._take_up(journal)
        except BaseException:
            if new:  # else it is an earlier run's, or another process has it
                self.discard()
            self._resources.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; a directory in which nothing is kept is removed."""
        if not self.count + self.rejected:
            self.discard()
        self._resources.close()

    def discard(self) -> None:
        """Remove the work directory, the journal last: the file is complete."""
        with suppress(OSError):
            self._clear()
            self.file(_JOURNAL).unlink(missing_ok=True)
            self.directory.rmdir()

    def _clear(self) -> None:
        """Remove everything but the journal."""
        for name in sorted(_OURS - {_JOURNAL}):
            self.file(name).unlink(missing_ok=True)

    # --- writing -------------------------------------------------------------------------------

    def add(
        self,
        record: Record,
        outputs: Outputs,
        *,
        length: int,
        used: int,
        windows: int,
        region: str = "",
    ) -> None:
        """Keep the embeddings of a record.

        Args:
            length, used, windows, region: as in Entry.

        Raises:
            FileError: the disk is full, or failed; what was kept before stays.
        """
        size, crc = 0, 0
        with self._failing():
            for kind in self._kinds:
                rows = self._rows(getattr(outputs, kind), used if kind == "per_token" else 1)
                data = rows.tobytes()
                _write(self._files[kind], data)
                size, crc = size + len(data), zlib.crc32(data, crc)
            digest = sha256(record.sequence.encode()).hexdigest()
            # What a part of a run will be merged into is not known yet.
            keyed = self.run.keys == "biotrainer" or self.run.shard is not None
            key = _biotrainer(record.sequence) if keyed else ""
            self._enter(
                Entry(
                    line=record.line,
                    id=record.id,
                    header=record.header,
                    sha256=digest,
                    length=length,
                    used=used,
                    windows=windows,
                    key=key,
                    reason="",
                    size=size,
                    crc=crc,
                    region=region,
                    unit=record.unit,
                )
            )
        self.count += 1
        self.residues += used

    def reject(self, record: Record, reason: str, *, length: int) -> None:
        """Keep a record that has no embedding, and why.

        Raises:
            FileError: as `add`.
        """
        text = lines.reject_of(record, reason)
        with self._failing():
            _write(self._files[_REJECTS], text)
            self._enter(
                Entry(
                    line=record.line,
                    id=record.id,
                    header=record.header,
                    sha256=sha256(record.sequence.encode()).hexdigest(),
                    length=length,
                    used=0,
                    windows=0,
                    key="",
                    reason=reason,
                    size=len(text),
                    crc=zlib.crc32(text),
                    unit=record.unit,
                )
            )
        self.rejected += 1

    def take(self, entry: Entry, data: Mapping[str, bytes]) -> None:
        """Keep what another journal has kept of a record.

        Args:
            data: its bytes by kind; of a reject, under "rejects".

        Raises:
            FileError: as `add`.
        """
        with self._failing():
            for name, own in data.items():
                _write(self._files[_REJECTS if name == "rejects" else name], own)
            self._enter(entry)
        self._tally(entry)

    def _rows(self, by_layer: dict[int, Float], count: int) -> Float:
        """All layers of one record as they lie in the file, (count, k, D)."""
        layers = [by_layer[layer].reshape(count, -1) for layer in self.run.layers]
        rows = np.stack(layers, axis=1).astype(_FLOAT, copy=False)
        assert rows.shape == (count, len(self.run.layers), self.run.dim), rows.shape
        return rows

    def _enter(self, entry: Entry) -> None:
        _write(self._files[_JOURNAL], lines.line_of(entry))

    # --- what an earlier run kept --------------------------------------------------------------

    def replay(self, records: Iterator[Record]) -> Iterator[Entry]:
        """The entries that were there already, each held against the record it should be of.

        Args:
            records: the input from its beginning; afterwards it stands behind the last entry.

        Raises:
            CannotResume: the input is not what it was.
        """
        for number, entry in enumerate(self._entries(), 1):
            if number > self.resumed:
                return
            record = next(records, None)
            if record is None:
                self.refuse(f"record {number} of the input, {entry.id!a}, is not there any more")
            digest = sha256(record.sequence.encode()).hexdigest()
            if (record.header, digest) != (entry.header, entry.sha256):
                self.refuse(
                    f"record {number} of the input was {entry.id!a} ({entry.place}), and is"
                    f" {record.id!a} ({record.place}) or has another sequence"
                )
            yield entry

    def refuse(self, difference: str) -> NoReturn:
        """It cannot be gone on with.

        Raises:
            CannotResume: always.
        """
        raise CannotResume(self.directory, [difference])

    def _take_up(self, journal: BinaryIO) -> None:
        """Read what is there, check it, and cut off what is not complete."""
        with self.file(_JOURNAL).open("rb") as content:
            first = content.readline()
        started = first.endswith(b"\n")  # or it is new, or was killed while it was made
        if not lines.is_head(first):
            refuse_foreign(self.directory)
        if started and not self._restart:
            earlier = lines.run_of(first)
            if earlier is None:
                self.refuse("it is damaged, or was not written by this version of esm2")
            if differences := self.run.differences(earlier):
                raise CannotResume(self.directory, differences)
        else:
            journal.truncate(0)
            self._clear()
        for name in (*self._kinds, _REJECTS):
            self._keep(name, open_or_make(self.file(name)))
        if journal.seek(0, os.SEEK_END):
            self._count_what_is_whole(len(first))
        else:
            _write(journal, lines.head(self.run))

    def _count_what_is_whole(self, end: int) -> None:
        """Entries whose bytes are all there; `end` is where the first one begins."""
        ends = {_JOURNAL: end} | dict.fromkeys((*self._kinds, _REJECTS), 0)
        with ExitStack() as stack:
            files = {name: stack.enter_context(self.file(name).open("rb")) for name in ends}
            files[_JOURNAL].seek(end)
            for line in files[_JOURNAL]:
                entry = lines.entry_of(line)
                if entry is None:
                    break
                sizes = self._sizes(entry)
                if not _whole(entry, [(files[name], size) for name, size in sizes.items()]):
                    break
                for name, size in {_JOURNAL: len(line), **sizes}.items():
                    ends[name] += size
                self._tally(entry)
        for name, size in ends.items():
            self._files[name].truncate(size)
            self._files[name].seek(size)
        self.resumed = self.count + self.rejected

    def _sizes(self, entry: Entry) -> dict[str, int]:
        """Bytes that an entry has in each file, in the order in which its CRC was made."""
        if entry.reason:
            return {_REJECTS: entry.size}
        row = len(self.run.layers) * self.run.dim * _FLOAT.itemsize
        return {kind: row * (entry.used if kind == "per_token" else 1) for kind in self._kinds}

    def _tally(self, entry: Entry) -> None:
        if entry.reason:
            self.rejected += 1
        else:
            self.count += 1
            self.residues += entry.used

    # --- reading: `run.Kept` -------------------------------------------------------------------

    def _entries(self) -> Iterator[Entry]:
        with self.file(_JOURNAL).open("rb") as content:
            next(content)
            for line in content:
                entry = lines.entry_of(line)
                assert entry is not None, "it was checked when it was taken up"
                yield entry

    def entries(self) -> Iterator[Entry]:
        return (entry for entry in self._entries() if not entry.reason)

    def rows(self) -> Iterator[tuple[Entry, dict[str, Float]]]:
        with ExitStack() as stack:
            files = {kind: stack.enter_context(self.file(kind).open("rb")) for kind in self._kinds}
            for entry in self.entries():
                sizes = self._sizes(entry)
                yield (
                    entry,
                    {kind: self._array(file.read(sizes[kind])) for kind, file in files.items()},
                )

    def _array(self, data: bytes) -> Float:
        return np.frombuffer(data, _FLOAT).reshape(-1, len(self.run.layers), self.run.dim)

    def file(self, name: str) -> Path:
        return self.directory / name

    @property
    def rejects(self) -> Path:
        """The records without embeddings, as FASTA; the reason stands behind each header."""
        return self.file(_REJECTS)

    @property
    def assembled(self) -> tuple[Path, Path]:
        """Where the file, and its rejects, may be written before they are moved to their place."""
        file, rejects = map(self.file, _ASSEMBLED)
        return file, rejects

    # --- files ---------------------------------------------------------------------------------

    def _keep(self, name: str, file: BinaryIO) -> BinaryIO:
        self._files[name] = self._resources.enter_context(file)
        return file

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What the operating system refuses, as an error about the file to be."""
        try:
            yield
        except OSError as error:
            raise FileError(self._output, "write", error.strerror or str(error)) from error


def _write(file: IO[bytes], data: bytes) -> None:
    """All of it, or OSError: an unbuffered file may take a part, as a disk does that gets full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _whole(entry: Entry, parts: Sequence[tuple[BinaryIO, int]]) -> bool:
    """Whether the next bytes of the files are those of an entry."""
    crc = 0
    for file, size in parts:
        left = size
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                return False
            crc, left = zlib.crc32(piece, crc), left - len(piece)
    return crc == entry.crc


def _biotrainer(sequence: str) -> str:
    """biotrainer's name of a sequence.

    Source: calculate_sequence_hash in biotrainer 1.4.0, biotrainer/utilities/hashing.py.
    """
    return sha256(f"{sequence}_{len(sequence)}".encode()).hexdigest()
