"""Tables: bytes that are kept, and files that are whole or not there."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from esm2.cli import tables
from esm2.errors import FileError, InvalidTable

#: Everything that a table may have in it: BOM, quotes, line ends in cells, bytes, empty lines.
ODD = (
    b"\xef\xbb\xbfmutant,note,\xb5g\r\n"
    b'A24G,"a ""quoted"", cell",1\r\n'
    b'D30N,"two\nlines",\xff\r\n'
    b"\r\n"
    b'"W1A",,"2"\n'
    b"\n"
)


def read(path: Path, content: bytes, *wanted: str) -> tables.Table:
    path.write_bytes(content)
    return tables.read(path, wanted or ["mutant"])


def write(table: tables.Table, path: Path, *cells: str) -> bytes:
    with tables.written(path) as out:
        table.write(out, "new,name", cells)
    return path.read_bytes()


def test_a_column_more_changes_no_other_byte(tmp_path):
    table = read(tmp_path / "x.csv", ODD)
    assert table.columns == {"mutant": ["A24G", "D30N", "W1A"]}
    assert table.lines == [2, 3, 6]
    assert write(table, tmp_path / "y.csv", "1", "2", "a,b") == (
        b'\xef\xbb\xbfmutant,note,\xb5g,"new,name"\r\n'
        b'A24G,"a ""quoted"", cell",1,1\r\n'
        b'D30N,"two\nlines",\xff,2\r\n'
        b"\r\n"
        b'"W1A",,"2","a,b"\n'
        b"\n"
    )


def test_a_last_line_without_an_end_stays_so(tmp_path):
    table = read(tmp_path / "x.csv", b"mutant\nA24G")
    assert write(table, tmp_path / "y.csv", "1") == b'mutant,"new,name"\nA24G,1'


@pytest.mark.parametrize("name", ["x.tsv", "X.TSV"])
def test_tabs_separate_where_the_name_says_so(tmp_path, name):
    table = read(tmp_path / name, b"mutant\tnote\nA24G\ta,b\n")
    assert write(table, tmp_path / "y.tsv", "1") == b"mutant\tnote\tnew,name\nA24G\ta,b\t1\n"


def test_gzip_is_read_by_its_bytes_and_written_by_its_name(tmp_path):
    table = read(tmp_path / "x.csv", gzip.compress(b"mutant\nA24G\n"))
    first = write(table, tmp_path / "y.csv.gz", "1")
    assert gzip.decompress(first) == b'mutant,"new,name"\nA24G,1\n'
    assert write(table, tmp_path / "z.csv.gz", "1") == first


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "there are no rows"),
        (b"mutant\n", 1, "there are no rows"),
        (b"\nmutant\nA24G\n", 1, "no column 'mutant'; there are none"),
        (b"name,score\nA24G,1\n", 1, "no column 'mutant'; there are 'name', 'score'"),
        (b"mutant,mutant\nA,B\n", 1, "2 columns 'mutant'"),
        (b"mutant,score\nA24G,1\nA25G\n", 3, "1 cells, the header 2"),
        (b"mutant,score\n\nA24G,1,2\n", 3, "3 cells, the header 2"),
        (b'mutant\n"A24G\n', 2, "cannot be read as CSV"),
        (b'mutant\n"A24G"x\n', 2, "cannot be read as CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path, content, line, reason):
    with pytest.raises(InvalidTable) as refused:
        read(tmp_path / "x.csv", content)
    assert refused.value.line == line
    assert reason in str(refused.value)


def test_damaged_gzip_is_refused(tmp_path):
    with pytest.raises(FileError, match="damaged or cut short"):
        read(tmp_path / "x.csv.gz", gzip.compress(b"mutant\nA24G\n")[:-6])


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_a_file_that_is_not_finished_is_not_there_and_the_old_one_stays(tmp_path, end):
    (tmp_path / "y.csv").write_text("old")

    def interrupted() -> None:
        with tables.written(tmp_path / "y.csv") as out:
            out.write("new")
            out.flush()
            assert len(list(tmp_path.iterdir())) == 2
            raise end

    with pytest.raises(end):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["y.csv"]
    assert (tmp_path / "y.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "reason"), [("no/y.csv", "there is no directory"), (".", "it is a directory")]
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, name, reason):
    with pytest.raises(FileError, match=reason), tables.written(tmp_path / name):
        pytest.fail("it was opened")
