"""A run that is stopped, however and however often, goes on and gives the file of one that is not.

The reference is what an uninterrupted run wrote. Every interruption is that of a real process.
"""

import fcntl
import random
import re
import shutil
import signal

import numpy as np
import pytest

from tests.cli.interrupted import Process, entries, proteins, run
from tests.storing import names

RECORDS = proteins(150)
FASTA = b"".join(RECORDS)
KEPT = (
    r"([\d,]+) records? (?:is|are) kept in x\.(?:npz|h5)\.part; the same command goes on from there"
)
RUNS = {
    "npz": ("-o", "x.npz", "--include", "mean,per-token", "--layers", "0,-1"),
    "h5": ("-o", "x.h5"),
}


def rejects(journal):
    lines = journal.read_bytes().splitlines()[1:]
    return sum(b'"reason":""' not in line for line in lines)


def outputs(directory, output):
    return (directory / output).read_bytes(), (directory / f"{output}.rejects.fasta").read_bytes()


@pytest.fixture(scope="module", params=RUNS)
def whole(request, tmp_path_factory):
    """Arguments, and what a run that is not interrupted writes and tells."""
    directory = tmp_path_factory.mktemp("whole")
    done = run(directory, "embed", "-", *RUNS[request.param], stdin=FASTA)
    assert done.status == 3  # some are rejected
    output = RUNS[request.param][1]
    assert names(directory) == sorted([output, f"{output}.rejects.fasta"])
    return RUNS[request.param], outputs(directory, output), done.told


def test_interruptions_of_four_kinds_one_after_the_other_change_no_byte(whole, tmp_path):
    arguments, expected, told = whole
    output = arguments[1]
    part = tmp_path / f"{output}.part"
    journal = part / "journal.jsonl"
    source = random.Random(output)
    kinds = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "full"]
    source.shuffle(kinds)
    before = 0
    for kind in kinds:
        if kind == "full":
            largest = max((entry.stat().st_size for entry in part.glob("*")), default=0)
            room = source.randrange(3, 12) * len(expected[0]) // 150
            done = run(tmp_path, "embed", "-", *arguments, stdin=FASTA, full_at=largest + room)
            assert done.status == 1
            assert done.told[-1] == f"esm2: cannot write {output}: File too large [file.failed]"
        else:
            with Process(tmp_path, "embed", "-", *arguments) as process:
                process.feed(RECORDS, journal, before + source.randrange(2, 12))
                done = process.stop(kind)
            assert done.status == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(kind, -kind)
        now = entries(journal)
        assert before <= now < 150
        if kind != signal.SIGKILL:
            kept = [re.fullmatch(KEPT, line) for line in done.told]
            (found,) = [int(one[1]) for one in kept if one]
            # A signal may come when the last one was written and not yet counted.
            assert now - rejects(journal) - found in ((0,) if kind == "full" else (0, 1))
        if before:
            assert done.told[0].startswith(f"going on after {before} record")
        assert names(tmp_path) == [part.name]
        before = now
    assert before > 2 * len(kinds)

    # Once more when everything is done, and only the file is still to be written.
    done = run(tmp_path, "embed", "-", *arguments, stdin=FASTA, full_at=len(expected[0]) - 50)
    assert done.status == 1
    assert any(line.startswith(f"esm2: cannot write {output}: ") for line in done.told)
    assert "Traceback" not in "\n".join(done.told)
    assert entries(journal) == 150
    assert names(tmp_path) == [part.name]

    done = run(tmp_path, "embed", "-", *arguments, stdin=FASTA)
    assert done.status == 3
    bad = expected[1].count(b">")
    assert done.told[0] == f"going on after 150 records done before, {bad} rejects"
    about_the_file = [line for line in told[:-1] if not line.startswith("-, line ")]
    assert done.told[1:-1] == about_the_file  # repeated ids and names, as if never interrupted
    assert outputs(tmp_path, output) == expected
    assert names(tmp_path) == sorted([output, f"{output}.rejects.fasta"])


# --- one interrupted run, gone on with in other ways ----------------------------------------------


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("interrupted")
    with Process(directory, "embed", "-", "-o", "x.npz") as process:
        journal = directory / "x.npz.part" / "journal.jsonl"
        process.feed(RECORDS, journal, 20)
        process.stop(signal.SIGKILL)
    # What was written and not yet entered, if it was killed just then, goes with the first look.
    before = entries(journal)
    done = run(directory, "embed", "-", "-o", "x.npz", stdin=b">other\nMKT\n")
    assert done.told[-1].endswith("[file.cannot_resume]")
    assert entries(journal) == before >= 20
    return directory


@pytest.fixture
def place(interrupted, tmp_path):
    """A directory of one's own with an interrupted run in it."""
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    return tmp_path


def kept(place):
    return {entry.name: entry.read_bytes() for entry in (place / "x.npz.part").iterdir()}


@pytest.mark.parametrize(
    ("options", "stdin", "difference"),
    [
        (["--layers", "5"], FASTA, "layers was 6 and is 5"),
        (["--include", "bos"], FASTA, "include was mean and is bos"),
        (["--max-residues", "99"], FASTA, "max residues was 2048 and is 99"),
        (["--long", "window"], FASTA, "long was error and is window"),
        (
            [],
            FASTA.replace(b">r2 number 2\n", b">r2 number 2\nM"),
            "record 3 of the input was 'r2'",
        ),
        ([], b"".join(RECORDS[:10]), "record 11 of the input, 'r10', is not there any more"),
        (
            [],
            b"".join(RECORDS[1:]),
            "record 1 of the input was 'r0' (line 1), and is 'r1' (line 1)",
        ),
    ],
)
def test_another_run_or_input_is_refused_with_the_difference(place, options, stdin, difference):
    before = kept(place)
    done = run(place, "embed", "-", "-o", "x.npz", *options, stdin=stdin)
    assert done.status == 1
    assert f"cannot go on with x.npz.part: {difference}" in done.told[-1]
    assert done.told[-1].endswith("or begin anew with --restart [file.cannot_resume]")
    assert not any("the same command goes on" in line for line in done.told)
    assert kept(place) == before
    assert names(place) == ["x.npz.part"]


def test_a_run_that_is_going_on_elsewhere_is_left_alone(place):
    with (place / "x.npz.part" / "journal.jsonl").open("rb") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        for options in ([], ["--restart"]):
            done = run(place, "embed", "-", "-o", "x.npz", *options, stdin=FASTA)
            assert done.status == 1
            assert done.told[-1] == (
                "esm2: cannot go on with x.npz.part: another process is writing it now; wait for"
                " it, or name another output [file.cannot_resume]"
            )
    assert entries(place / "x.npz.part" / "journal.jsonl") >= 20


def test_restart_begins_anew(place):
    done = run(place, "embed", "-", "-o", "x.npz", "--restart", "--layers", "0", stdin=b">a\nMKT\n")
    assert done.status == 0
    assert "going on" not in "\n".join(done.told)
    with np.load(place / "x.npz") as found:
        assert found["ids"].tolist() == ["a"]
        assert found["layers"].tolist() == [0]
    assert names(place) == ["x.npz"]


def test_strict_stops_at_a_record_that_was_rejected_before(place):
    done = run(place, "embed", "-", "-o", "x.npz", "--strict", stdin=FASTA)
    assert done.status == 1
    assert re.search(r"^esm2: -, line 11, record r5: .*empty.* \[request\.", done.told[-1])
    assert "--restart" not in done.told[-1]


def test_a_file_that_was_made_meanwhile_stays_and_so_does_what_was_done(tmp_path):
    with Process(tmp_path, "embed", "-", "-o", "x.npz", "-q") as process:
        process.feed(RECORDS[:5], tmp_path / "x.npz.part" / "journal.jsonl", 3)
        (tmp_path / "x.npz").write_text("precious")
        done = process.end()
    assert done.status == 1
    assert re.fullmatch(KEPT, done.told[-2])[1] == "5"
    assert done.told[-1].startswith("esm2: cannot write x.npz: it has been made meanwhile; move it")
    assert (tmp_path / "x.npz").read_text() == "precious"
    (tmp_path / "x.npz").unlink()
    done = run(tmp_path, "embed", "-", "-o", "x.npz", stdin=b"".join(RECORDS[:5]))
    assert (done.status, done.told[0]) == (0, "going on after 5 records done before")
    assert names(tmp_path) == ["x.npz"]


# --- strict --------------------------------------------------------------------------------------


def test_strict_stops_at_the_first_bad_record_and_goes_on_when_it_is_mended(tmp_path):
    source = tmp_path / "x.fasta"
    text = b">a\nMKT\n>b\nGG\n>bad\nMKt\n>c\nMK1\n>d\nM\n"
    source.write_bytes(text)
    command = ("embed", "x.fasta", "-o", "x.npz", "--strict")
    done = run(tmp_path, *command)
    assert done.status == 1
    assert re.match(r"esm2: x\.fasta, line 5, record bad: residue 3 is 't'", done.told[-1])
    assert re.fullmatch(KEPT, done.told[-2])[1] == "2"
    assert not any("record c" in line for line in done.told)

    mended = text.replace(b"MKt", b"MKT").replace(b"MK1", b"MKK")
    source.write_bytes(mended)
    done = run(tmp_path, *command)
    assert done.status == 0
    assert done.told[0] == "going on after 2 records done before"
    assert names(tmp_path) == ["x.fasta", "x.npz"]
    resumed = (tmp_path / "x.npz").read_bytes()
    run(tmp_path, *command, "--force")
    assert (tmp_path / "x.npz").read_bytes() == resumed


def test_one_record_is_spoken_of_as_one(tmp_path):
    (tmp_path / "x.fasta").write_bytes(b">a\nMKT\n>bad\nMKt\n")
    done = run(tmp_path, "embed", "x.fasta", "-o", "x.npz", "--strict")
    assert done.told[0].startswith("1 record is kept in x.npz.part")


def test_strict_keeps_nothing_of_a_first_record_that_is_bad(tmp_path):
    (tmp_path / "x.fasta").write_bytes(b">bad\nMKt\n>a\nMKT\n")
    done = run(tmp_path, "embed", "x.fasta", "-o", "x.npz", "--strict")
    assert done.status == 1
    (line,) = done.told
    assert line.startswith("esm2: x.fasta, line 1, record bad: ")
    assert names(tmp_path) == ["x.fasta"]


def test_a_directory_of_rejects_alone_is_told_or_removed(tmp_path):
    bad = [b">bad %d\nMKt\n" % i for i in range(9)]
    with Process(tmp_path, "embed", "-", "-o", "x.npz") as process:
        process.feed(bad, tmp_path / "x.npz.part" / "journal.jsonl", 3)
        done = process.stop(signal.SIGINT)
    assert done.status == 130
    assert bool(names(tmp_path)) == any("x.npz.part" in line for line in done.told)
