"""A run on several machines: each embeds every N-th record, and the parts become one file.

    esm2 embed x.fasta -o part.npz --shard 2/3     records 2, 5, 8, ... into part.2-of-3.npz
    esm2 merge part.*.npz -o whole.h5              the file of a run that was not shared out

A part is an .npz with two arrays more: `journal`, the lines of its work directory, which have an
entry for every record, rejects too; and `rejects`, their FASTA. So the order is restored by taking
an entry of each part in turn, and what one machine missed or read differently is found.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from esm2.errors import FileError
from esm2.files import lines
from esm2.files.npz import ARRAY_OF
from esm2.files.run import Entry, Run
from esm2.files.stored import DAMAGE
from esm2.pooling import KINDS
from esm2.types import Record

Shard = tuple[int, int]

#: What a part's meta has beside that of the whole.
DESCRIBED = ("shard", "input_records", "input_sha256")

_FLOAT_BYTES = 4


def parse(text: str) -> Shard | None:
    """`2/3` -> (2, 3), the second of three; None if it says something else."""
    number, slash, of = text.partition("/")
    if not (slash and number.isascii() and number.isdigit() and of.isascii() and of.isdigit()):
        return None
    shard = (int(number), int(of))
    return shard if 1 <= shard[0] <= shard[1] else None


def path_of(output: Path, shard: Shard) -> Path:
    """Where a part goes: part.npz -> part.2-of-3.npz."""
    number, of = shard
    return output.with_name(f"{output.stem}.{number}-of-{of}{output.suffix}")


class OwnRecords:
    """The records of one shard, and what the whole input was.

    Attributes:
        count: records of the input that were read so far, those of other shards too.
    """

    def __init__(self, records: Iterator[Record], shard: Shard) -> None:
        self._records = records
        self._shard = shard
        self._digest = sha256()
        self.count = 0

    def __iter__(self) -> Iterator[Record]:
        number, of = self._shard
        for record in self._records:
            self._digest.update(f"{record.header}\n{record.sequence}\n".encode())
            self.count += 1
            if (self.count - number) % of == 0:
                yield record

    def described(self) -> dict[str, object]:
        """For the part's meta: parts of one run have the same."""
        number, of = self._shard
        values = (f"{number}/{of}", self.count, self._digest.hexdigest())
        return dict(zip(DESCRIBED, values, strict=True))


class Part:
    """A part to be merged; use it as a context manager, and take its records once.

    Attributes:
        path: of the file.
        number, of: which of how many.
        run: how it was made.
        meta: what the file says of itself.
        records: those of the whole input.

    Raises:
        FileError: it cannot be read, or is no part of a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opened:
            self._open(opened)
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack) -> None:
        try:
            archive = opened.enter_context(zipfile.ZipFile(self.path))
            with archive.open("meta.npy") as file:
                self.meta: dict[str, Any] = json.loads(str(np.lib.format.read_array(file)))
            self.records = int(self.meta["input_records"])
            array = partial(_array, opened, archive)
            self._journal, self._rejects = array("journal"), array("rejects")
            described = lines.run_of(self._journal.readline())
            if described is None:
                raise self._damaged("its journal")
            known = {name: tuple(v) if isinstance(v, list) else v for name, v in described.items()}
            self.run = Run(**known)  # type: ignore[arg-type]  # what `described` gave
            assert self.run.shard is not None, "it has a journal"
            self.number, self.of = self.run.shard
            kinds = [kind for kind in KINDS if kind in self.run.include]
            self._kinds = {kind: array(ARRAY_OF[kind]) for kind in kinds}
        except OSError as error:
            raise FileError(self.path, "read", error.strerror or str(error)) from error
        except DAMAGE as error:
            reason = "it is damaged, or no part that `esm2 embed --shard` wrote"
            raise FileError(self.path, "merge", reason) from error

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def take(self) -> tuple[Entry, dict[str, bytes]] | None:
        """The next entry, and its rows by kind or, of a reject, its FASTA; None at the end.

        Raises:
            FileError: it is damaged.
        """
        try:
            return self._take()
        except OSError as error:
            raise FileError(self.path, "read", error.strerror or str(error)) from error
        except DAMAGE as error:
            raise self._damaged("it") from error

    def _take(self) -> tuple[Entry, dict[str, bytes]] | None:
        line = self._journal.readline()
        if not line:
            return None
        entry = lines.entry_of(line)
        if entry is None:
            raise self._damaged("its journal")
        row = len(self.run.layers) * self.run.dim * _FLOAT_BYTES
        data = (
            {"rejects": self._rejects.read(entry.size)}
            if entry.reason
            else {
                kind: file.read(row * (entry.used if kind == "per_token" else 1))
                for kind, file in self._kinds.items()
            }
        )
        if zlib.crc32(b"".join(data.values())) != entry.crc:
            raise self._damaged(f"record {entry.id!a}")
        return entry, data

    def _damaged(self, what: str) -> FileError:
        return FileError(self.path, "merge", f"{what} is damaged; make it again with --force")


def _array(opened: ExitStack, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """The bytes of an array, behind its header."""
    file = opened.enter_context(archive.open(f"{name}.npy"))
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return file


def check(parts: Sequence[Part]) -> None:
    """Refuse parts that are not, all together, one run.

    Raises:
        FileError: naming the part, and why.
    """
    first = parts[0]
    seen: dict[int, Path] = {}
    for part in parts:
        if part.number in seen:
            reason = f"it is part {part.number}, as {seen[part.number]} is"
            raise FileError(part.path, "merge", reason)
        seen[part.number] = part.path
        same = replace(part.run, shard=(first.number, part.of))
        if differences := same.differences(first.run.described()):
            reason = f"it is not of the run of {first.path}: {'; '.join(differences)}"
            raise FileError(part.path, "merge", reason)
        for name in ("input_records", "input_sha256"):
            if part.meta.get(name) != first.meta.get(name):
                reason = f"its input was another than that of {first.path}"
                raise FileError(part.path, "merge", reason)
    if missing := sorted(set(range(1, first.of + 1)) - seen.keys()):
        numbers = ", ".join(map(str, missing))
        raise FileError(first.path, "merge", f"of its {first.of} parts, there is no {numbers}")


def merged(parts: Sequence[Part]) -> Iterator[tuple[Entry, dict[str, bytes]]]:
    """Every entry of the run in the order of its input, as `Part.take` gives them.

    Args:
        parts: of one run (`check`).

    Raises:
        FileError: one is damaged, or ends too early.
    """
    ordered = sorted(parts, key=lambda part: part.number)
    for number in range(parts[0].records):
        part = ordered[number % len(ordered)]
        taken = part.take()
        if taken is None:
            raise FileError(part.path, "merge", f"record {number + 1} of the input is not in it")
        yield taken
