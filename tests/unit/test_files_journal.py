"""The journal: whatever happens to its directory, what is kept is true, and in order."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from esm2 import files
from esm2.errors import CannotResume, FileError
from esm2.types import Outputs, Record
from tests.storing import META, Row, keep, names, rows, run

BOTH = run(include=("mean", "per_token"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.npz"


def some_rows():
    """Ten records, three of them rejected."""
    made = rows(BOTH, [f"r{i}" for i in range(10)])
    for i in (0, 4, 9):
        made[i] = Row(made[i].record, Outputs(), 0, reason=f"reason {i}")
    return made


def content(directory):
    return {entry.name: entry.read_bytes() for entry in directory.iterdir()}


@pytest.fixture
def kept(path):
    """The directory of an interrupted run, and its files as they are."""
    with files.Journal(path, BOTH) as journal:
        keep(journal, some_rows())
    return journal.directory, content(journal.directory)


def ends(path):
    """How long each file is after 0, 1, 2, ... records."""
    found = []
    for count in range(11):
        with files.Journal(path.with_name("prefix.npz"), BOTH, restart=True) as journal:
            keep(journal, some_rows()[:count])
            found.append({name: len(data) for name, data in content(journal.directory).items()})
    return found


def resumed(path):
    """How many records a journal believes in; each of them is as it was made."""
    made = some_rows()
    with files.Journal(path, BOTH) as journal:
        count = journal.resumed
        inputs = iter([own.record for own in made])
        entries = list(journal.replay(inputs))
        assert [entry.reason for entry in entries] == [own.reason for own in made[:count]]
        good = [own for own in made[:count] if not own.reason]
        assert (journal.count, journal.rejected) == (len(good), count - len(good))
        assert journal.residues == sum(own.used for own in good)
        for own, (entry, arrays) in zip(good, journal.rows(), strict=True):
            assert (entry.id, entry.header, entry.line, entry.length, entry.used) == (
                *(own.record.id, own.record.header, own.record.line),
                *(own.used, own.used),
            )
            np.testing.assert_array_equal(arrays["mean"][:, 0], own.outputs.mean[6][None])
            np.testing.assert_array_equal(arrays["per_token"][:, 0], own.outputs.per_token[6])
        assert next(inputs, None) is (made[count].record if count < len(made) else None)
        keep(journal, made[count:])
    return count


# --- what survives -------------------------------------------------------------------------------


def test_what_was_kept_is_there_when_it_is_opened_again(path, kept):
    assert resumed(path) == 10
    assert content(kept[0]) == kept[1]


@pytest.mark.parametrize("name", ["journal.jsonl", "mean", "per_token", "rejects.fasta"])
def test_a_file_cut_anywhere_costs_only_the_records_behind_the_cut(path, kept, name):
    directory, whole = kept
    lengths = ends(path)
    size = len(whole[name])
    places = range(size) if size < 400 else sorted(random.Random(0).sample(range(size), 200))
    for place in places:
        with (directory / name).open("r+b") as file:
            file.truncate(place)
        complete = [count for count in range(11) if lengths[count].get(name, 0) <= place]
        assert resumed(path) == max(complete, default=0)
        assert content(directory) == whole


@pytest.mark.parametrize("name", ["mean", "per_token", "rejects.fasta"])
def test_a_flipped_bit_costs_only_the_records_from_there(path, kept, name):
    directory, whole = kept
    lengths = ends(path)
    source = random.Random(1)
    for _ in range(100):
        damaged = bytearray(whole[name])
        place = source.randrange(len(damaged))
        damaged[place] ^= 1 << source.randrange(8)
        (directory / name).write_bytes(damaged)
        assert resumed(path) == max(c for c in range(11) if lengths[c][name] <= place)
        assert content(directory) == whole


def test_bytes_behind_the_last_entry_are_cut_off(path, kept):
    directory, whole = kept
    for name, rest in [("journal.jsonl", b'{"line":1'), ("mean", b"abc"), ("rejects.fasta", b">x")]:
        with (directory / name).open("ab") as file:
            file.write(rest)
    assert resumed(path) == 10
    assert content(directory) == whole


@pytest.mark.parametrize("missing", ["mean", "per_token", "rejects.fasta"])
def test_a_file_that_is_gone_costs_what_was_in_it(path, kept, missing):
    directory, whole = kept
    (directory / missing).unlink()
    assert resumed(path) == (0 if missing == "rejects.fasta" else 1)
    assert content(directory) == whole


def test_a_flipped_bit_of_the_journal_is_never_believed(path, kept):
    directory, whole = kept
    journal = whole["journal.jsonl"]
    source = random.Random(2)
    for place in source.sample(range(journal.index(b"\n") + 1, len(journal)), 500):
        damaged = bytearray(journal)
        damaged[place] ^= 1 << source.randrange(8)
        (directory / "journal.jsonl").write_bytes(damaged)
        with contextlib.suppress(CannotResume):  # where it says that the input is another
            assert resumed(path) <= journal[:place].count(b"\n") - 1
            assert content(directory) == whole
        for name, data in whole.items():
            (directory / name).write_bytes(data)


def test_a_damaged_first_line_is_refused_and_nothing_is_lost(path, kept):
    directory, whole = kept
    journal = whole["journal.jsonl"]
    for place in range(journal.index(b"\n")):
        damaged = bytearray(journal)
        damaged[place] ^= 4
        (directory / "journal.jsonl").write_bytes(damaged)
        with pytest.raises(FileError), files.Journal(path, BOTH):
            pytest.fail("it was opened")
        assert content(directory) == {**whole, "journal.jsonl": bytes(damaged)}


KILLED = """
import os, signal, sys
from pathlib import Path
from esm2 import files
from tests.storing import keep, rows, run
with files.Journal(Path(sys.argv[1]), run()) as journal:
    keep(journal, rows(run(), ["a", "b", "c"]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_kept_outlives_its_process_and_so_does_not_the_lock(path):
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    with files.Journal(path, run()) as journal:
        assert journal.resumed == 3


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"layers": (5,)}, "layers was 6 and is 5"),
        ({"layers": (5, 6)}, "layers was 6 and is 5,6"),
        ({"dtype": "bfloat16"}, "dtype was float32 and is bfloat16"),
        ({"device": "cuda"}, "device was cpu and is cuda"),
        ({"model": "esm2-8m"}, "model was esm2-demo and is esm2-8m"),
        ({"weights_sha256": "f" * 64}, f"weights sha256 was {'0123456789abcdef' * 4} and is ffff"),
        ({"include": ("mean",)}, "include was mean,per_token and is mean"),
        ({"format": ".h5"}, r"format was \.npz and is \.h5"),
        ({"keys": "hash"}, "keys was id and is hash"),
        ({"long": "window"}, "long was error and is window"),
        ({"max_residues": 10}, "max residues was 2048 and is 10"),
        ({"dtype": "int8", "layers": (0,)}, "dtype was .*; layers was 6 and is 0"),
    ],
)
def test_another_run_is_refused_with_the_difference(path, kept, changes, difference):
    other = run(**{"include": BOTH.include, **changes})
    with pytest.raises(CannotResume, match=difference) as caught, files.Journal(path, other):
        pytest.fail("it was opened")
    assert "--restart" in str(caught.value)
    assert caught.value.code == "file.cannot_resume"
    assert content(kept[0]) == kept[1]


def test_another_version_is_refused(path, kept):
    directory, whole = kept
    changed = whole["journal.jsonl"].replace(b'directory":2', b'directory":3')
    (directory / "journal.jsonl").write_bytes(changed)
    with pytest.raises(CannotResume, match="this version of esm2"), files.Journal(path, BOTH):
        pytest.fail("it was opened")


def record(name, header, sequence):
    return Record(name, header, sequence, 77)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            lambda own: record(own.id, own.header, own.sequence + "A"),
            r"record 4 of the input was 'r3' \(line 7\), and is 'r3' \(line 77\) or has another",
        ),
        (lambda own: record(own.id, own.header + "!", own.sequence), "record 4 of the input was"),
        (lambda own: record("x", "x", own.sequence), r"is 'x' \(line 77\)"),
        (None, "record 4 of the input, 'r3', is not there any more"),
    ],
    ids=["sequence", "header", "another record", "fewer records"],
)
def test_an_input_that_was_changed_is_refused(path, kept, change, difference):
    records = [own.record for own in some_rows()]
    records[3:] = [change(records[3]), *records[4:]] if change else []
    with (
        files.Journal(path, BOTH) as journal,
        pytest.raises(CannotResume, match=difference),
    ):
        list(journal.replay(iter(records)))
    assert content(kept[0]) == kept[1]


def test_a_record_may_stand_on_another_line(path, kept):
    moved = [Record(r.id, r.header, r.sequence, 99) for r in (own.record for own in some_rows())]
    with files.Journal(path, BOTH) as journal:
        assert len(list(journal.replay(iter(moved)))) == 10


@pytest.mark.parametrize("restart", [False, True])
def test_two_at_a_time_are_refused(path, kept, restart):
    with files.Journal(path, BOTH):
        second = files.Journal(path, BOTH, restart=restart)
        with pytest.raises(CannotResume, match="another process is writing it now"), second:
            pytest.fail("it was opened")
    assert content(kept[0]) == kept[1]
    with files.Journal(path, BOTH) as journal:
        assert journal.resumed == 10


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "present",
    [
        {"thesis.txt": b"mine"},
        {"mean": b"\0" * 16},
        {"thesis.txt": b"mine", "journal.jsonl": b"Dear diary"},
        {"thesis.txt": b"mine", "journal.jsonl": b'{"date": "today"}\n'},
        {"thesis.txt": b"mine", "journal.jsonl": b""},
    ],
    ids=["a file", "a file of our names", "a diary", "a journal of others", "an empty journal"],
)
def test_a_directory_that_is_not_ours_is_refused_and_left_alone(path, present, restart):
    directory = files.work_directory(path)
    directory.mkdir()
    for name, data in present.items():
        (directory / name).write_bytes(data)
    with (
        pytest.raises(FileError, match=r"out\.npz\.part"),
        files.Journal(path, run(), restart=restart),
    ):
        pytest.fail("it was opened")
    assert content(directory) == present


def test_a_file_in_the_place_of_the_directory_is_named(path):
    files.work_directory(path).write_bytes(b"mine")
    with pytest.raises(FileError, match=r"out\.npz\.part"), files.Journal(path, run()):
        pytest.fail("it was opened")
    assert files.work_directory(path).read_bytes() == b"mine"


# --- what is thrown away -------------------------------------------------------------------------


@pytest.mark.parametrize("other", [BOTH, run(layers=(0, 1))], ids=["the same run", "another"])
def test_restart_begins_with_nothing(path, kept, other):
    made = rows(other, ["x"])
    with files.Journal(path, other, restart=True) as journal:
        assert (journal.resumed, journal.count, journal.rejected) == (0, 0, 0)
        keep(journal, made)
        files.commit(path, journal, META)
    with np.load(path) as found:
        assert found["ids"].tolist() == ["x"]
    assert names(path.parent) == ["out.npz"]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_directory_in_which_nothing_is_kept_is_removed(path, error):
    def opened():
        with files.Journal(path, run()):
            if error:
                raise error

    if error:
        with pytest.raises(error):
            opened()
    else:
        opened()
    assert names(path.parent) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("reason", ["", "bad"])
def test_an_error_or_an_interrupt_keeps_what_was_done(path, error, reason):
    (made,) = rows(run(), ["a"])

    def interrupted():
        with files.Journal(path, run()) as journal:
            keep(journal, [Row(made.record, made.outputs, made.used, reason=reason)])
            raise error

    with pytest.raises(error):
        interrupted()
    with files.Journal(path, run()) as journal:
        assert journal.resumed == 1


NO_ROOM = """
import resource, sys
from pathlib import Path
from esm2 import files
from esm2.errors import FileError
from tests.storing import run
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
try:
    with files.Journal(Path(sys.argv[1]), run()):
        raise AssertionError
except FileError as error:
    print(error)
"""


def test_a_disk_without_room_for_the_first_line_leaves_nothing(path):
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, path], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"cannot write {path}: File too large\n"
    assert names(path.parent) == []


def test_a_run_killed_while_its_directory_was_made_can_be_gone_on_with(path, kept):
    directory, whole = kept
    first = whole["journal.jsonl"].split(b"\n", 1)[0]
    for length in (0, 1, len(first) // 2, len(first)):
        shutil.rmtree(directory)
        directory.mkdir()
        (directory / "journal.jsonl").write_bytes(first[:length])
        assert resumed(path) == 0
        assert content(directory) == whole


def test_rows_of_another_shape_are_our_own_bug(path):
    (made,) = rows(run(), ["a"])
    with files.Journal(path, run()) as journal, pytest.raises(AssertionError):
        journal.add(
            made.record, Outputs(mean={6: np.zeros(5, np.float32)}), length=1, used=1, windows=1
        )


def test_files_are_as_private_as_the_person_wants(path):
    before = os.umask(0o077)
    try:
        with files.Journal(path, run()) as journal:
            keep(journal, rows(run(), ["a"]))
            modes = {entry.stat().st_mode & 0o077 for entry in journal.directory.iterdir()}
            files.commit(path, journal, META)
    finally:
        os.umask(before)
    assert modes == {0}
    assert path.stat().st_mode & 0o077 == 0
