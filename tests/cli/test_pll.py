"""`esm2 pll` as a person runs it, on the checkpoint in the package."""

from __future__ import annotations

import contextlib
import csv
import io
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import esm2
from tests.cli.interrupted import ENVIRONMENT, MAIN, Done, run
from tests.near import assert_scores
from tests.proteins import residues

RECORDS = {"b": "".join(residues(30)), "a,a": "M", "rare": "MKXBUZO"}
FASTA = "".join(f">{name} of a test\n{sequence}\n" for name, sequence in RECORDS.items())


@pytest.fixture
def pll(tmp_path):
    """Run the command in a directory with proteins."""
    (tmp_path / "x.fasta").write_text(FASTA)

    def command(*arguments: object, stdin: str = "") -> Done:
        flags = ("--device", "cpu", "--dtype", "float32")
        return run(tmp_path, "pll", *arguments, *flags, stdin=stdin.encode())

    return command


@pytest.fixture(scope="module")
def model():
    with esm2.load("esm2-demo", device="cpu", dtype="float32") as loaded:
        yield loaded


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def numbers(found: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([row[name] for row in found], dtype=float)


def test_every_record_has_the_numbers_of_python_in_input_order(pll, tmp_path, model):
    done = pll("x.fasta", "-o", "x.csv")
    assert (done.status, done.stdout) == (0, b""), done.told
    assert done.told[-1].startswith("x.csv: 3 records, 38 residues, esm2-demo on cpu, float32; a")
    found = rows((tmp_path / "x.csv").read_bytes())
    assert list(found[0]) == ["id", "length", "pll", "pseudo_perplexity"]
    assert [row["id"] for row in found] == list(RECORDS)
    lengths = [len(sequence) for sequence in RECORDS.values()]
    assert [row["length"] for row in found] == list(map(str, lengths))
    want = model.pll(RECORDS.values())
    assert_scores(numbers(found, "pll"), want)
    perplexity = numbers(found, "pseudo_perplexity")
    np.testing.assert_allclose(perplexity, np.exp(-want / lengths), rtol=1e-4)


def test_the_approximation_is_log_prob_and_is_called_so(pll, model):
    done = pll("-", "--approximate", "-q", stdin=FASTA)
    assert (done.status, done.told) == (0, [])
    found = rows(done.stdout)
    assert list(found[0]) == ["id", "length", "log_prob"]
    want = model.log_prob(RECORDS.values())
    assert_scores(numbers(found, "log_prob"), want)


def test_bad_records_are_told_and_left_out(pll):
    fasta = ">a\nMKt\n>b\nMK<mask>\n>c\n\n>d\nMKT\n>e\nMMMMMM\n"
    done = pll("-", "--max-residues", 5, stdin=fasta)
    assert done.status == 3
    assert [line.partition(": ")[0] for line in done.told[:4]] == [
        "-, line 1, record a",
        "-, line 3, record b",
        "-, line 5, record c",
        "-, line 9, record e",
    ]
    assert done.told[4].endswith("; 4 records left out, as told above")
    assert [row["id"] for row in rows(done.stdout)] == ["d"]


def test_when_nothing_can_be_scored_nothing_is_written(pll, tmp_path):
    done = pll("-", "-o", "x.csv", stdin=">a\nmk\n")
    assert done.status == 1
    assert "no record of - could be scored; nothing was written" in done.told[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["x.fasta"]


@pytest.mark.parametrize(
    ("command", "how", "ending"),
    [
        (["pll"], signal.SIGINT, 130),
        (["scan"], signal.SIGTERM, 143),
        (["pll", "--approximate"], signal.SIGHUP, 129),
    ],
)
def test_an_interrupt_leaves_no_file_behind(tmp_path, command, how, ending):
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *command, "-", "-o", "x.csv"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=ENVIRONMENT,
    )

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b">first\nMKT\n>bad\nMKt\n")
            while True:
                process.stdin.write(b">more\n" + b"MKTAYIAKQR" * 20 + b"\n")

    feeder = threading.Thread(target=feed)
    feeder.start()
    with process:
        try:
            # Once the bad record is told, the model is loaded and passes are on their way.
            told_first = process.stderr.readline()
            at_work = [path.name for path in tmp_path.iterdir()]
            process.send_signal(how)
            told_then = process.stderr.read()
            status = process.wait()
        finally:
            process.kill()
            feeder.join()
    assert b"record bad" in told_first
    assert len(at_work) == 1
    assert at_work[0].endswith(".part")
    assert status == ending
    assert (b"interrupted" if how == signal.SIGINT else how.name.encode()) in told_then
    assert b"Traceback" not in told_then
    assert list(tmp_path.iterdir()) == []
