"""A Parquet table of sequences, read as if it were FASTA: a row is a record.

    id         text or whole numbers; a row without one is "seq N", as in FASTA
    sequence   text; blanks in it and a `*` at its end are removed, as in FASTA
    description  may be there: it follows the id in the header

Columns are told by these names, in any case, and no others are guessed. `Record.line` is the row,
from 1. Rows are read some at a time, so memory is bounded by the longest of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from esm2.errors import FileError, MissingExtra
from esm2.types import Record

if TYPE_CHECKING:
    from pyarrow import Schema
    from pyarrow.parquet import ParquetFile

    from esm2.files.fasta.content import Position

_ROWS = 1024
_ID, _SEQUENCE, _DESCRIPTION = "id", "sequence", "description"
_SHOWN = 12


def records(path: str, position: Position) -> Iterator[Record]:
    """The rows of a table.

    Args:
        position: the bytes that are done are its share of the rows.

    Raises:
        FileError: it is damaged, has no row, or not these columns.
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtra("pyarrow", "parquet") from error
    before, size = position.done, Path(path).stat().st_size
    try:
        with pyarrow.OSFile(os.fsencode(path)) as disk, parquet.ParquetFile(disk) as file:
            names = _columns(path, file.schema_arrow)
            if not file.metadata.num_rows:
                raise FileError(path, "read", "the table is empty: it has no row")
            for row, record in enumerate(_rows(file, names), start=1):
                position.done = before + size * row // file.metadata.num_rows
                yield record
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise FileError(path, "read", f"it is damaged or cut short ({error})") from error


def _columns(path: str, schema: Schema) -> list[str]:
    """The names of the columns that are read: id, sequence and, if there is one, description."""
    from pyarrow import types

    found = []
    for wanted in (_ID, _SEQUENCE, _DESCRIPTION):
        named = [name for name in schema.names if name.lower() == wanted]
        if len(named) != 1 and (named or wanted != _DESCRIPTION):
            shown = ", ".join(map(repr, schema.names[:_SHOWN]))
            more = ", ..." if len(schema.names) > _SHOWN else ""
            raise FileError(
                path,
                "read",
                f"a table of sequences has one column named {wanted}, this one has {shown}{more};"
                " rename them, for example with pandas:"
                ' read_parquet("IN").rename(columns={"Entry": "id", "Sequence": "sequence"})'
                '.to_parquet("OUT")',
            )
        found += named
    for name in found:
        kind = schema.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        if not text and not (name == found[0] and types.is_integer(kind)):
            raise FileError(path, "read", f"its column {name!r} is of {kind}, and not text")
    return found


def _rows(file: ParquetFile, names: list[str]) -> Iterator[Record]:
    row = 0
    for batch in file.iter_batches(_ROWS, columns=names):
        columns = [batch.column(name).to_pylist() for name in names]
        for own, sequence, *more in zip(*columns, strict=True):
            row += 1
            name = _line(own) or f"seq {row}"
            header = " ".join([name, *filter(None, map(_line, more))])
            residues = "".join((sequence or "").split()).removesuffix("*")
            yield Record(name, header, residues, row, unit="row")


def _line(value: object) -> str:
    """A value as it may stand in a header."""
    return "" if value is None else " ".join(str(value).split())
