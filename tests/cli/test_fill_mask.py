"""`esm2 fill-mask` as a person runs it, and `Model.fill_mask`."""

import re

import numpy as np
import pytest

import esm2
from esm2.alphabet import AMINO_ACIDS
from esm2.errors import InvalidSequence, MaskMissing
from esm2.numerics import SCORE
from tests.cli import warm

SEQUENCE = "MKT<mask>YIAKQ<mask>G"
POSITIONS = (4, 10)


@pytest.fixture
def fill_mask(tmp_path):
    def run(*arguments, stdin=None):
        return warm.run_text(tmp_path, "fill-mask", *arguments, stdin=stdin)

    return run


@pytest.fixture(scope="module")
def model():
    with esm2.load("esm2-demo", device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def probabilities(model):
    """A softmax over the 20 amino acids of each masked row of all logits."""
    (logits,) = model.predict([SEQUENCE])
    rows = logits[[position - 1 for position in POSITIONS]].astype(np.float64)
    odds = np.exp(rows)
    return odds / odds.sum(axis=1, keepdims=True)


def test_guesses_are_the_most_probable_of_the_20_amino_acids(model, probabilities):
    guesses = model.fill_mask(SEQUENCE, top_k=20)
    assert [{guess.position for guess in of_a_mask} for of_a_mask in guesses] == [{4}, {10}]
    for of_a_mask, row in zip(guesses, probabilities, strict=True):
        assert [guess.probability for guess in of_a_mask] == pytest.approx(
            sorted(row, reverse=True), abs=SCORE
        )
        assert sum(guess.probability for guess in of_a_mask) == pytest.approx(1)
        for guess in of_a_mask:
            want = row[AMINO_ACIDS.index(guess.residue)]
            assert guess.probability == pytest.approx(want, abs=SCORE)
    assert model.fill_mask(SEQUENCE) == [of_a_mask[:5] for of_a_mask in guesses]


def test_a_sequence_without_a_mask_and_a_wrong_number_are_refused(model):
    with pytest.raises(MaskMissing):
        model.fill_mask("MKT")
    with pytest.raises(InvalidSequence):
        model.fill_mask("MKt<mask>")
    for top_k in (0, 21):
        with pytest.raises(ValueError, match="there are 20 amino acids"):
            model.fill_mask(SEQUENCE, top_k=top_k)


def test_the_table_is_printed_written_and_drawn(fill_mask, tmp_path, probabilities):
    run = fill_mask(*("--sequence", SEQUENCE, "--top-k", "3", "-o", "x.csv", "--picture", "x.svg"))
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("x.csv and x.svg: masked residues of sequence, esm2-demo on cpu")
    printed = [line.split("\t") for line in run.stdout.splitlines()]
    written = [line.split(",") for line in (tmp_path / "x.csv").read_text().splitlines()]
    assert printed == written
    header, *rows = printed
    assert header == ["position", "rank", "residue", "probability"]
    assert [row[:2] for row in rows] == [[str(p), str(r)] for p in POSITIONS for r in (1, 2, 3)]
    for position, of_a_mask in zip(POSITIONS, probabilities, strict=True):
        best = np.argsort(-of_a_mask)[:3]
        own = [row[2:] for row in rows if row[0] == str(position)]
        assert own == [[AMINO_ACIDS[i], f"{of_a_mask[i]:.4f}"] for i in best]
    picture = (tmp_path / "x.svg").read_text()
    assert ">Masked residues, sequence, esm2-demo<" in picture
    assert {">4<", ">10<"} <= set(re.findall(r">\d+<", picture))


def test_a_file_is_read_and_nothing_but_the_table_is_told_quietly(fill_mask):
    run = fill_mask("-", "--quiet", "--top-k", "1", stdin=f">a\n{SEQUENCE}\n")
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 3
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--sequence", "MKT"], 1, r"the sequence has no <mask>.*\[request.mask_missing\]"),
        (["--sequence", SEQUENCE, "-o", "none/x.csv"], 1, "cannot write none/x.csv"),
        (["--sequence", SEQUENCE, "-o", "x.npz"], 2, "x.npz has no ending .*; use .csv"),
        (["--sequence", SEQUENCE, "--picture", "x.gif"], 2, "x.gif has no ending"),
        (["--sequence", SEQUENCE, "--top-k", "21"], 2, "--top-k"),
        ([], 2, "give a FASTA file, or a protein with --sequence"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(
    fill_mask, tmp_path, arguments, status, message
):
    run = fill_mask(*arguments)
    assert re.search(message, run.stderr.splitlines()[-1])
    assert (run.returncode, run.stdout) == (status, "")
    assert list(tmp_path.iterdir()) == []
