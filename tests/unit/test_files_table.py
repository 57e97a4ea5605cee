"""Parquet tables of sequences: what is a record, what is refused, and what never is guessed."""

from __future__ import annotations

import sys

import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from esm2.errors import FileError, InvalidFasta, MissingExtra
from esm2.files import fasta

PROTEINS = {"id": ["P1", "two words", None, "P4"], "sequence": ["MKT", " M KTA* ", "MK", None]}


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def fields(path):
    return [(own.id, own.header, own.sequence, own.line) for own in fasta.read(path)]


def test_a_row_is_a_record(tmp_path):
    rows = [
        ("P1", "P1", "MKT", 1),
        ("two words", "two words", "MKTA", 2),
        ("seq 3", "seq 3", "MK", 3),
        ("P4", "P4", "", 4),
    ]
    assert fields(write(tmp_path / "named-anyhow", PROTEINS)) == rows


def test_description_follows_the_id_and_names_are_told_in_any_case(tmp_path):
    columns = {"SEQUENCE": ["MK", "M"], "length": [2, 1], "Description": ["of\nHuman", None]}
    path = write(tmp_path / "x.parquet", {**columns, "ID": [7, 8]})
    assert fields(path) == [("7", "7 of Human", "MK", 1), ("8", "8", "M", 2)]


@pytest.mark.parametrize("library", ["pandas", "polars", "dictionary"])
def test_tables_of_every_library_are_read(tmp_path, library):
    path, columns = tmp_path / "x.parquet", {"id": ["a", "b"], "sequence": ["MK", "MT"]}
    match library:
        case "pandas":
            pandas.DataFrame(columns, index=[5, 6]).to_parquet(path)
        case "polars":
            polars.DataFrame(columns).write_parquet(path)
        case _:
            write(path, {name: pa.array(own).dictionary_encode() for name, own in columns.items()})
    assert [(own.id, own.sequence) for own in fasta.read(path)] == [("a", "MK"), ("b", "MT")]


def test_of_many_rows_some_are_read_at_a_time_and_the_position_tells_how_far(tmp_path):
    many = 5000
    path = write(
        tmp_path / "x.parquet", {"id": range(many), "sequence": ["MK"] * many}, row_group_size=700
    )
    position = fasta.Position()
    seen = [(own.line, position.done) for own in fasta.read_all([str(path)] * 2, position)]
    size = path.stat().st_size
    assert position.total == 2 * size
    assert [line for line, _ in seen] == [*range(1, many + 1)] * 2
    assert seen[many // 2 - 1][1] == size // 2
    assert seen[many - 1][1] == size
    assert seen[-1][1] == 2 * size


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"Entry": ["P1"], "sequence": ["M"]}, r"has one column named id, this one has 'Entry'"),
        ({"id": ["P1"], "seq": ["M"]}, r"named sequence, this one has 'id', 'seq'; rename them"),
        ({"id": ["P1"], "ID": ["P2"], "sequence": ["M"]}, r"one column named id"),
        ({f"c{i}": [1] for i in range(99)}, r"'c0', .*'c11', \.\.\.; rename"),
        ({"id": ["P1"], "sequence": [1]}, r"its column 'sequence' is of int64, and not text"),
        ({"id": [1.5], "sequence": ["M"]}, r"its column 'id' is of double, and not text"),
        ({"id": ["P1"], "sequence": [["M"]]}, r"its column 'sequence' is of list"),
        ({"id": pa.array([], "string"), "sequence": pa.array([], "string")}, r"it has no row"),
    ],
)
def test_what_is_no_table_of_sequences_is_refused_with_what_it_has(tmp_path, columns, sentence):
    with pytest.raises(FileError, match=sentence):
        fields(write(tmp_path / "x.parquet", columns))


@pytest.mark.parametrize("kept", [8, 200, -30])
def test_a_damaged_table_is_refused(tmp_path, kept):
    path = write(tmp_path / "x.parquet", PROTEINS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileError, match="damaged or cut short"):
        fields(path)


def test_without_what_reads_it_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", PROTEINS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="pyarrow"):
        fields(path)


def test_from_standard_input_it_is_refused(tmp_path, monkeypatch):
    with write(tmp_path / "x.parquet", PROTEINS).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(InvalidFasta, match=r"a Parquet table.*give its path"):
            list(fasta.read("-"))
