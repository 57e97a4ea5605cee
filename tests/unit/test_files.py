"""A file is whole or absent: what is written from a journal, where, and what that costs."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from esm2 import files
from esm2.errors import FileError
from esm2.files import fasta
from esm2.types import Outputs, Record
from tests.storing import META, Row, keep, names, row, rows, run, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.npz"


def ids(path):
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["ids"].tolist()


def bad(name="bad", sequence="MKt", line=9, reason="residue 3 is 't'"):
    return Row(Record(name, name, sequence, line), Outputs(), 0, reason=reason)


# --- whole or absent -----------------------------------------------------------------------------


def test_the_file_appears_only_when_it_is_complete_and_nothing_else_stays(path):
    with files.Journal(path, run()) as journal:
        keep(journal, rows(run(), ["a", "b"]))
        assert names(path.parent) == ["out.npz.part"]
        files.commit(path, journal, META)
        assert names(path.parent) == ["out.npz"]
    assert names(path.parent) == ["out.npz"]


def test_an_older_file_and_its_rejects_stay_until_the_new_one_is_complete(path):
    path.write_bytes(b"older")
    rejects = files.rejects_path(path)
    rejects.write_bytes(b">older\nMKt\n")
    with files.Journal(path, run()) as journal:
        keep(journal, rows(run(), ["a"]))
        assert path.read_bytes() == b"older"
        assert rejects.read_bytes() == b">older\nMKt\n"
        files.commit(path, journal, META, force=True)
    assert ids(path) == ["a"]
    assert not rejects.exists()  # they were not this run's


def test_a_file_that_was_made_meanwhile_and_its_rejects_are_not_written_over(path):
    made = [*rows(run(), ["a"]), bad()]
    with files.Journal(path, run()) as journal:
        keep(journal, made)
        path.write_bytes(b"precious")
        files.rejects_path(path).write_bytes(b">too\nMKt\n")
        with pytest.raises(FileError, match="made meanwhile; move it away, or --force writes over"):
            files.commit(path, journal, META)
    assert path.read_bytes() == b"precious"
    assert files.rejects_path(path).read_bytes() == b">too\nMKt\n"
    path.unlink()
    with files.Journal(path, run()) as journal:
        assert journal.resumed == 2
        files.commit(path, journal, META)
    assert ids(path) == ["a"]
    assert names(path.parent) == ["out.npz", "out.npz.rejects.fasta"]


def test_rejects_that_cannot_be_put_into_their_place_are_told_by_name(path):
    files.rejects_path(path).mkdir()
    with files.Journal(path, run()) as journal:
        keep(journal, [bad()])
        with pytest.raises(FileError, match=r"cannot write .*out\.npz\.rejects\.fasta: Is a dir"):
            files.commit_rejects(path, journal)


def test_rejects_are_records_again_with_the_reason_behind_the_header(path):
    made = [*rows(run(), ["a"]), bad(), bad("<mask>", "M<mask>Z?", 11, "two\nlines")]
    write(path, run(), made)
    assert ids(path) == ["a"]
    found = list(fasta.read(path.parent / "out.npz.rejects.fasta"))
    assert [(record.header, record.sequence) for record in found] == [
        ("bad [line 9: residue 3 is 't']", "MKt"),
        ("<mask> [line 11: two lines]", "M<mask>Z?"),
    ]


@pytest.mark.parametrize("sequence", [">abc", ";abc", "MK*", "", "M" * 200, "ünï"])
def test_the_sequence_of_a_reject_is_read_again_as_it_was(path, sequence):
    write(path, run(), [*rows(run(), ["a"]), bad(sequence=sequence), bad("last", "Mt")])
    found = list(fasta.read(path.parent / "out.npz.rejects.fasta"))
    assert [record.sequence for record in found] == [sequence, "Mt"]


def test_repeated_ids_are_told_in_the_order_in_which_they_came(path):
    with files.Journal(path, run()) as journal:
        keep(journal, [*rows(run(), ["b", "a", "c", "a", "b", "a", "d"]), bad("d"), bad("c")])
        found = files.duplicates(journal)
    assert list(found.items()) == [("b", 2), ("a", 3)]


def test_a_file_that_cannot_be_written_keeps_the_journal(path):
    path.mkdir()  # behind our back: `check_place` refuses it before
    made = rows(run(), ["a", "b"])
    with files.Journal(path, run()) as journal:
        keep(journal, made)
        with pytest.raises(FileError, match=r"cannot write .*out\.npz: "):
            files.commit(path, journal, META)
    assert names(path) == []
    path.rmdir()
    with files.Journal(path, run()) as journal:
        assert journal.resumed == 2
        files.commit(path, journal, META)
    assert ids(path) == ["a", "b"]
    assert names(path.parent) == ["out.npz"]


def test_a_file_left_half_assembled_does_not_matter(path):
    with files.Journal(path, run()) as journal:
        keep(journal, rows(run(), ["a"]))
        (journal.directory / "assembled").write_bytes(b"x" * 100_000)
        files.commit(path, journal, META)
    write(path.with_name("other.npz"), run(), rows(run(), ["a"]))
    assert path.read_bytes() == path.with_name("other.npz").read_bytes()


# --- refusals of the operating system ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/out.npz", "there is no directory .*missing; make it first"),
        ("directory.npz", "it is a directory; name a file"),
        ("file/out.npz", "there is no directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name, reason):
    (tmp_path / "directory.npz").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match=reason):
        files.check_place(tmp_path / name, force=False)
    assert names(tmp_path) == ["directory.npz", "file"]


def test_a_name_that_is_too_long_is_refused_before_any_row(tmp_path):
    with (
        pytest.raises(FileError, match="File name too long"),
        files.Journal(tmp_path / ("x" * 300 + ".npz"), run()),
    ):
        pytest.fail("it was opened")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="no permission to write"):
        files.check_place(tmp_path / "out.npz", force=False)


# A limit on the size of files is what a test can have in place of a full disk.
FULL = """
import resource, sys
from pathlib import Path
from esm2 import files
from esm2.errors import FileError
from tests.storing import META, keep, rows, run
path, where, keys, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
of = run(path.suffix, keys=keys, include=(kind,))
made = rows(of, [f"record-{i}" for i in range(300)])
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
try:
    with files.Journal(path, of) as journal:
        if where == "while adding":
            limit(4_000)
        keep(journal, made)
        limit(2_000)
        files.commit(path, journal, META)
except FileError as error:
    print(error)
"""


@pytest.mark.parametrize("where", ["while adding", "while writing"])
@pytest.mark.parametrize(
    ("format", "keys", "kind"),
    [
        *((format, "id", "mean") for format in files.FORMATS),
        (".h5", "biotrainer", "mean"),
        (".h5", "id", "per_token"),
    ],
)
def test_a_full_disk_is_told_in_one_sentence_and_costs_nothing(tmp_path, where, format, keys, kind):
    path = tmp_path / f"out{format}"
    done = subprocess.run(
        [sys.executable, "-c", FULL, path, where, keys, kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith(f"cannot write {path}: ")
    assert "file too large" in done.stdout.lower()
    assert names(tmp_path) == [f"out{format}.part"]
    assert not (tmp_path / f"out{format}.part" / "assembled").exists()

    of = run(format, keys=keys, include=(kind,))
    made = rows(of, [f"record-{i}" for i in range(300)])
    with files.Journal(path, of) as journal:
        assert 0 < journal.resumed <= 300
        assert (journal.resumed == 300) == (where == "while writing")
        keep(journal, made[journal.resumed :])
        files.commit(path, journal, META)
    write(tmp_path / f"whole{format}", of, made)
    assert path.read_bytes() == (tmp_path / f"whole{format}").read_bytes()


# --- what it costs -------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_records(path):
    of = run(include=("mean", "per_token"), dim=256)
    record = row(run(), "any", 5).record
    outputs = Outputs(
        mean={6: np.ones(256, np.float32)}, per_token={6: np.ones((5, 256), np.float32)}
    )
    tracemalloc.start()
    try:
        with files.Journal(path, of) as journal:
            for i in range(20_000):
                own = Record(f"record-{i}", record.header, record.sequence, i + 1)
                journal.add(own, outputs, length=5, used=5, windows=1)
            assert files.duplicates(journal) == {}
            files.commit(path, journal, META)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 120_000_000
    assert peak < 6_000_000
