"""The lines of a journal: JSON, each with the CRC-32 of itself; and those of its rejects, FASTA.

    {"esm2 work directory":2,"run":{...},"line_crc":"0b5f21a7"}
    {"line":1,"id":"P69905", ...,"line_crc":"9d0c4e12"}

A line that was cut or changed is not read as another one: it is not read at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from esm2.files.run import Entry, Run
from esm2.types import Record

_TITLE = "esm2 work directory"
_VERSION = 2
_FIRST = f'{{"{_TITLE}":'.encode()
_TAIL = len(b',"line_crc":"01234567"}\n')


def head(run: Run) -> bytes:
    """The first line."""
    return _line({_TITLE: _VERSION, "run": run.described()})


def is_head(line: bytes) -> bool:
    """Whether it is, or would have become, the first line of a journal of any version."""
    return line[: len(_FIRST)] == _FIRST[: len(line)]


def run_of(first: bytes) -> dict[str, object] | None:
    """What `Run.described` gave for the first line; None if it is damaged or of another version."""
    fields = _fields(first)
    if fields is None or fields.get(_TITLE) != _VERSION:
        return None
    run: dict[str, object] = fields["run"]
    return run


def line_of(entry: Entry) -> bytes:
    """The line of an entry."""
    return _line(asdict(entry))


def entry_of(line: bytes) -> Entry | None:
    """The entry of a line; None if it is damaged or not complete."""
    fields = _fields(line)
    return None if fields is None else Entry(**fields)


def reject_of(record: Record, reason: str) -> bytes:
    """A record that `fasta.read` reads again with the sequence that it has."""
    place = f"{record.source}, {record.place}" if record.source else record.place
    header = " ".join(f"{record.header} [{place}: {reason}]".split("\n"))
    indent = " " * record.sequence.startswith((">", ";"))
    stop = "*" * record.sequence.endswith("*")  # one is removed when it is read
    return f">{header}\n{indent}{record.sequence}{stop}\n".encode()


def _line(fields: Mapping[str, object]) -> bytes:
    body = orjson.dumps(fields)
    return body[:-1] + f',"line_crc":"{zlib.crc32(body):08x}"}}\n'.encode()


def _fields(line: bytes) -> dict[str, Any] | None:
    body = line[:-_TAIL] + b"}"
    if line[-_TAIL:] != f',"line_crc":"{zlib.crc32(body):08x}"}}\n'.encode():
        return None
    fields: dict[str, Any] = orjson.loads(body)
    return fields
