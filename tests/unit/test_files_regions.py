"""Which residues are pooled, as the command line and tables say it."""

import re

import pytest

from esm2.errors import FileError, RequestError
from esm2.files import regions
from esm2.types import Record


def record(name):
    return Record(name, name, "M" * 70, 1)


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(content):
        (tmp_path / "r.tsv").write_bytes(content)
        return regions.given(["r.tsv"])

    return make


def test_nothing_is_no_region():
    assert regions.given([]) is None


@pytest.mark.parametrize(
    "values",
    [["27-38,56-65"], ["27-38", " 56-65"], ["56-65,27-38"], ["30-38,60-65,27-29,56-62,57-58"]],
)
def test_regions_of_the_command_line_are_those_of_every_record(values):
    found = regions.given(values)
    assert found.described == "27-38,56-65"
    assert found.of(record("a"), 65).spans == found.of(record("b"), 70).spans
    assert found.of(record("a"), 65).spans == ((27, 38), (56, 65))
    assert found.strangers() == []


def test_a_region_that_goes_beyond_the_last_residue_is_refused():
    with pytest.raises(RequestError, match="27-38, goes beyond residue 37, the last"):
        regions.given(["27-38"]).of(record("a"), 37)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["38-27"], "'38-27' is no region: it ends before it begins"),
        (["0-5"], "'0-5' is no region: residues are counted from 1"),
        (["1-2", "x"], "'x' is no region such as 27-38; a file of them is given alone"),
    ],
)
def test_what_is_no_region_is_wrong_usage(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        regions.given(values)


@pytest.mark.parametrize(
    "value", ["27:38", "-5-3", "", "1-2,x", "1-2\0", "9999999999-2", "x" * 999]
)
def test_what_is_neither_region_nor_file_is_told_as_a_file_that_is_not_there(tmp_path, value):
    with pytest.raises(FileError, match="a region is like 27-38"):
        regions.given([value])


@pytest.mark.parametrize(
    "content",
    [
        b"a\t2\t4\nb\t1\t2\na\t8\t9\n",
        b"\xef\xbb\xbfID\tstart\tend\r\n\r\na\t 2\t4 \r\nb\t1\t2\r\na\t8\t9",
        b"a\t8\t9\na\t4\t4\nb\t1\t2\na\t2\t3\n",
    ],
    ids=["plain", "of a spreadsheet", "in pieces"],
)
def test_a_table_has_the_region_of_each_id(table, content):
    found = table(content)
    assert str(found.of(record("a"), 9)) == "2-4,8-9"
    assert str(found.of(record("b"), 2)) == "1-2"
    with pytest.raises(RequestError, match=r"there is no region for it in r\.tsv"):
        found.of(record("A"), 9)


def test_a_table_is_known_by_its_content(table):
    first = table(b"a\t2\t4\n").described
    assert re.fullmatch("sha256:[0-9a-f]{64}", first)
    assert table(b"a\t2\t5\n").described != first
    assert table(b"a\t2\t4\n").described == first


def test_ids_that_no_record_had_are_told_with_their_lines(table):
    found = table(b"id\tstart\tend\na\t1\t2\nx\t1\t2\nx\t5\t6\n\ny\t1\t2\n")
    assert list(found.watch(iter([record("b"), record("a")]))) == [record("b"), record("a")]
    assert found.strangers() == [
        "r.tsv, line 3: no record has the id 'x'",
        "r.tsv, line 6: no record has the id 'y'",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\t1\t2\nb 1 2\n", "r.tsv, line 2: 1 columns, not the three id, start, end"),
        (b"a\t1\t2\tCDR1\n", "r.tsv, line 1: 4 columns"),
        (b"a\t1\t2\nid\tstart\tend\n", "r.tsv, line 2: 'id\\tstart\\tend' is not an id and two"),
        (b"a\t1\t2.5\n", "r.tsv, line 1: 'a\\t1\\t2.5' is not an id and two numbers"),
        (b"\t1\t2\n", "r.tsv, line 1: "),
        (b"a\t0\t2\n", "r.tsv, line 1: 0 to 2 is no region: residues are counted from 1"),
        (b"\na\t5\t2\n", "r.tsv, line 2: 5 to 2 is no region: it ends before it begins"),
        (b"id\tstart\tend\n", "r.tsv: there is no region in it"),
        (b"", "r.tsv: there is no region in it"),
    ],
)
def test_a_line_that_is_no_region_is_told(table, content, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        table(content)


def test_a_table_that_is_no_text_or_a_directory_is_told(table, tmp_path):
    with pytest.raises(FileError, match="it is not UTF-8 text"):
        table(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="Is a directory"):
        regions.given([str(tmp_path)])
