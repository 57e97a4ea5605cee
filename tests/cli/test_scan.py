"""`esm2 scan` as a person runs it, on the checkpoint in the package."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import esm2
from esm2.alphabet import AMINO_ACIDS
from tests.cli.interrupted import ENVIRONMENT, MAIN, Done, run
from tests.near import assert_scores
from tests.proteins import residues

PROTEIN = "".join(residues(24, seed=5)) + "X"
SHORT = "MKTAY"


@pytest.fixture
def scan(tmp_path):
    """Run the command in a directory with proteins."""
    (tmp_path / "one.fasta").write_text(f">sp|P1|ONE of a test\n{PROTEIN}\n")
    (tmp_path / "many.fasta").write_text(f">a,b\n{PROTEIN}\n>bad\nMKt\n>c\n{SHORT}\n")

    def command(*arguments: object, full_at: int = 0) -> Done:
        exactly = ["--device", "cpu", "--dtype", "float32"]
        return run(tmp_path, "scan", *arguments, *exactly, full_at=full_at)

    return command


@pytest.fixture(scope="module")
def model():
    with esm2.load("esm2-demo", device="cpu", dtype="float32") as loaded:
        yield loaded


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def rows(content: bytes | str) -> list[dict[str, str]]:
    text = content.decode() if isinstance(content, bytes) else content
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("strategy", ["masked-marginals", "wt-marginals"])
def test_every_substitution_has_a_row_and_a_cell(scan, tmp_path, model, strategy):
    done = scan("one.fasta", "-o", "x.csv", "--matrix", "m.csv", "--strategy", strategy)
    assert (done.status, done.stdout) == (0, b""), done.told
    assert done.told[-1].startswith(f"x.csv, m.csv: 1 record, 25 residues, {strategy}, esm2-demo")
    found = rows((tmp_path / "x.csv").read_text())
    assert list(found[0]) == ["mutant", "position", "wt", "mt", "score"]
    assert len(found) == 24 * 19 + 20
    want = model.score_variants(PROTEIN, [row["mutant"] for row in found], strategy)
    got = np.array([row["score"] for row in found], dtype=float)
    assert_scores(got, want)
    for row in found:
        assert row["mutant"] == f"{row['wt']}{row['position']}{row['mt']}"
        assert PROTEIN[int(row["position"]) - 1] == row["wt"] != row["mt"]

    matrix = rows((tmp_path / "m.csv").read_text())
    assert [row.pop("mt") for row in matrix] == list(AMINO_ACIDS)
    assert list(matrix[0]) == [f"{letter}{n}" for n, letter in enumerate(PROTEIN, 1)]
    cells = np.array([list(row.values()) for row in matrix], dtype=float)
    assert_scores(cells, model.scan(PROTEIN, strategy).scores)


def test_of_several_records_each_row_has_its_id_and_bad_ones_are_told(scan):
    done = scan("many.fasta", "-o", "-")
    assert done.status == 3
    assert done.told[0].startswith("many.fasta, line 3, record bad: residue 3 is 't'")
    assert done.told[-1].startswith("standard output: 2 records, 30 residues")
    assert done.told[-1].endswith("; 1 record left out, as told above")
    found = rows(done.stdout)
    assert next(iter(found[0])) == "id"
    assert [row["id"] for row in found] == ["a,b"] * (24 * 19 + 20) + ["c"] * (5 * 19)


@pytest.mark.parametrize(("name", "magic"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_a_picture_is_drawn(scan, tmp_path, name, magic):
    done = scan("one.fasta", "--picture", name, "-q")
    assert (done.status, done.told) == (0, [])
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert files(tmp_path) == ["many.fasta", "one.fasta", name]


def test_a_picture_may_be_dark_and_has_the_protein_and_the_model_for_a_title(scan, tmp_path):
    dark = ["one.fasta", "--picture", "p.svg", "--strategy", "wt-marginals", "--dark"]
    assert scan(*dark).status == 0
    picture = (tmp_path / "p.svg").read_text()
    assert ">sp|P1|ONE, wt-marginals, esm2-demo<" in picture
    assert "#14171c" in picture
    assert "#ffffff" not in picture


def test_what_draws_is_missed_before_anything_is_computed(scan, tmp_path):
    for package in ("matplotlib", "torch"):
        (tmp_path / f"{package}.py").write_text("raise ModuleNotFoundError")
    before = files(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "scan", "one.fasta", "-o", "x.csv", "--picture", "p.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 1
    assert "'matplotlib>=3.9'" in done.stderr.splitlines()[-1]
    assert done.stderr.endswith("[settings.missing_extra]\n")
    assert [name for name in files(tmp_path) if name != "__pycache__"] == before


def test_a_full_disk_leaves_the_old_picture_and_no_table(scan, tmp_path):
    (tmp_path / "p.png").write_text("old")
    done = scan("one.fasta", "-o", "x.csv", "--picture", "p.png", full_at=20_000)
    assert (done.status, done.told[-1]) == (
        1,
        "esm2: cannot write p.png: File too large [file.failed]",
    )
    assert (tmp_path / "p.png").read_text() == "old"
    assert files(tmp_path) == ["many.fasta", "one.fasta", "p.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one.fasta"], "say what to write"),
        (["one.fasta", "--picture", "p.gif"], "p.gif has no ending that is known here"),
        (["one.fasta", "-o", "x.csv", "--dark"], "it is for a --picture"),
        (["one.fasta", "-o", "x.xlsx"], "no ending that is known here"),
        (["one.fasta", "-o", "x.csv", "--matrix", "x.csv"], "what --output names too"),
        (["many.fasta", "--matrix", "m.csv"], "--matrix"),
        (["many.fasta", "-o", "x.csv", "--picture", "p.png"], "--picture"),
        (["one.fasta", "-o", "x.csv", "--strategy", "pppl"], "--strategy"),
    ],
)
def test_wrong_usage_is_status_2_and_leaves_nothing(scan, tmp_path, arguments, message):
    done = scan(*arguments)
    assert done.status == 2
    assert message in done.told[-1]
    assert files(tmp_path) == ["many.fasta", "one.fasta"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (">a\nmk\n", "no record of x.fasta could be scored; nothing was written"),
        (">a\nMK<mask>\n", "no record of x.fasta could be scored"),
        (f">a\n{'M' * 30}\n", "no record of x.fasta could be scored"),
    ],
)
def test_when_nothing_can_be_scored_there_is_no_file(scan, tmp_path, content, message):
    (tmp_path / "x.fasta").write_text(content)
    outputs = ["-o", "x.csv", "--matrix", "m.csv", "--picture", "p.png"]
    done = scan("x.fasta", *outputs, "--max-residues", "29")
    assert done.status == 1
    assert message in done.told[-1]
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".fasta"]
