"""`esm2 logits` as a person runs it: the numbers of the model, and what it refuses."""

import re

import numpy as np
import pytest

import esm2
from esm2.alphabet import AMINO_ACIDS
from esm2.numerics import MORE
from tests.cli import warm
from tests.near import assert_near, assert_same


@pytest.fixture
def logits(tmp_path):
    def run(*arguments, stdin=None):
        return warm.run_text(tmp_path, "logits", *arguments, stdin=stdin)

    return run


@pytest.mark.parametrize("sequence", ["MKTAYIAKQR", "MKT<mask>YXAKQ<mask>"])
def test_logits_are_those_of_the_model_with_masks_or_without(logits, tmp_path, sequence):
    with esm2.load("esm2-demo", device="cpu") as model:
        if "<" in sequence:
            (want,) = model.predict([sequence])
        else:
            want = model.encode([sequence], include=["logits"])[0].logits
    run = logits("-", "-o", "x.csv", stdin=f">a protein\n{sequence}\n")
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("x.csv: logits of a, esm2-demo on cpu, float32; ")
    header, *rows = [line.split(",") for line in (tmp_path / "x.csv").read_text().splitlines()]
    assert header == ["position", "residue", *"LAGVSERTIDPKQNFYMHWC"]
    assert [row[0] for row in rows] == [str(n) for n in range(1, 11)]
    assert "".join(row[1] for row in rows) == sequence
    found = np.array([row[2:] for row in rows], dtype=np.float32)
    assert_same(found, want)

    run = logits("--sequence", sequence, "-o", "x.npz", "-q")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"logits", "amino_acids", "id", "sequence", "meta"}
        assert arrays["logits"].dtype == np.float32
        # A csv loses nothing.
        np.testing.assert_array_equal(arrays["logits"], found)
        assert tuple(arrays["amino_acids"]) == AMINO_ACIDS
        assert str(arrays["sequence"]) == sequence


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--sequence", "MKt", "-o", "x.csv"], 1, "residue 3 is 't'"),
        (["--sequence", "MKT", "-o", "none/x.csv"], 1, "cannot write none/x.csv"),
        (["--sequence", "MKT", "-o", "x.tsv"], 2, "x.tsv has no ending that is known here"),
        (["--sequence", "MKT"], 2, "--output"),
        (["-o", "x.csv"], 2, "give a FASTA file"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(
    logits, tmp_path, arguments, status, message
):
    run = logits(*arguments)
    assert re.search(message, run.stderr.splitlines()[-1])
    assert run.returncode == status
    assert list(tmp_path.iterdir()) == []


def test_the_functions_of_python_give_what_encode_gives():
    with esm2.load("esm2-demo", device="cpu") as model:
        sequences = ["MKTAYIAKQR", "G"]
        outputs = model.encode(sequences, include=["logits", "contacts", "attentions"])
        for name in ("logits", "contacts", "attentions"):
            arrays = getattr(model, name)(sequences)
            assert [array.shape for array in arrays] == [
                getattr(own, name).shape for own in outputs
            ]
            for array, own in zip(arrays, outputs, strict=True):
                assert array.dtype == np.float32
                assert_near(array, getattr(own, name), MORE, name)
            assert getattr(model, name)([]) == []
