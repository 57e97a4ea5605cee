"""`esm2 contacts` and `esm2 attentions` as a person runs them: numbers, pictures, refusals."""

import json
import os
import re
import resource
import subprocess
import sys

import numpy as np
import pytest

import esm2
from esm2.numerics import MORE
from esm2.science import structure
from tests.cli import warm
from tests.near import assert_near
from tests.pdbfiles import SEQUENCE, chain_text

MAIN = "from esm2.cli import main; main()"
FASTA = f">sp|P1|X a hairpin\n{SEQUENCE[:10]}\n{SEQUENCE[10:]}*\n"
CAVEAT = "a tiny model, trained for two hours: to try things, not for science"
L = len(SEQUENCE)


@pytest.fixture
def command(tmp_path):
    """Run a command in a directory with a protein and its structure."""
    (tmp_path / "x.fasta").write_text(FASTA)
    (tmp_path / "x.pdb").write_text(chain_text(missing=[11, 12]))

    def run(*arguments, stdin=None, code=MAIN, limit=None):
        def limited():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        if code == MAIN and limit is None:
            return warm.run_text(tmp_path, *arguments, stdin=stdin)
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "2", "PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=limited,
        )

    return run


@pytest.fixture(scope="module")
def truth():
    with esm2.load("esm2-demo", device="cpu") as model:
        (outputs,) = model.encode([SEQUENCE], include=["contacts", "attentions"])
    return outputs


def files(path):
    return sorted(entry.name for entry in path.iterdir())


def close(found, want):
    assert_near(found, want, MORE, "contacts")


# --- numbers -----------------------------------------------------------------------------------


def test_an_npz_has_the_contacts_of_encode_and_tells_how_they_were_made(command, tmp_path, truth):
    run = command("contacts", "x.fasta", "-o", "x.npz")
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    assert run.stderr == f"x.npz: contacts of sp|P1|X, esm2-demo on cpu, float32; {CAVEAT}\n"
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"contacts", "id", "sequence", "meta"}
        assert arrays["contacts"].dtype == np.float32
        close(arrays["contacts"], truth.contacts)
        assert (str(arrays["id"]), str(arrays["sequence"])) == ("sp|P1|X", SEQUENCE)
        meta = json.loads(str(arrays["meta"]))
    assert (meta["model"], meta["source"], meta["weights_kind"]) == ("esm2-demo", "x.fasta", "demo")
    assert files(tmp_path) == ["x.fasta", "x.npz", "x.pdb"]


def test_a_csv_is_the_matrix_and_the_protein_may_be_an_argument(command, tmp_path, truth):
    run = command("contacts", "--sequence", SEQUENCE, "-o", "x.csv", "--quiet")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    close(np.loadtxt(tmp_path / "x.csv", delimiter=","), truth.contacts)


def test_a_tsv_is_a_list_of_pairs_the_most_probable_first(command, tmp_path, truth):
    run = command("contacts", "-", "-o", "x.tsv", stdin=FASTA)
    assert run.returncode == 0, run.stderr
    header, *lines = (tmp_path / "x.tsv").read_text().splitlines()
    assert header == "i\tj\tp"
    rows = [(int(i), int(j), float(p)) for i, j, p in (line.split("\t") for line in lines)]
    assert {row[:2] for row in rows} == {
        (i, j) for i in range(1, L + 1) for j in range(i + 6, L + 1)
    }
    close([p for *_, p in rows], [truth.contacts[i - 1, j - 1] for i, j, _ in rows])
    assert sorted(rows, key=lambda row: -row[2]) == rows

    run = command("contacts", "x.fasta", "-o", "y.tsv", "--top", "5", "--separation", "12")
    assert run.returncode == 0, run.stderr
    far = [line for line, (i, j, _) in zip(lines, rows, strict=True) if j - i >= 12]
    assert (tmp_path / "y.tsv").read_text().splitlines() == [header, *far[:5]]


def test_attentions_are_by_layer_and_residue(command, tmp_path, truth):
    run = command("attentions", "x.fasta", "-o", "x.csv", "--picture", "x.svg", "--dark")
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("x.csv and x.svg: attentions of sp|P1|X, esm2-demo on cpu")
    header, *rows = [line.split(",") for line in (tmp_path / "x.csv").read_text().splitlines()]
    assert header == ["layer", *map(str, range(1, L + 1))]
    assert [row[0] for row in rows] == [str(layer) for layer in range(1, len(rows) + 1)]
    close(np.array(rows, dtype=float)[:, 1:], truth.attentions)
    assert ">Attention, sp|P1|X, esm2-demo<" in (tmp_path / "x.svg").read_text()

    assert command("attentions", "x.fasta", "-o", "x.npz").returncode == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        close(arrays["attentions"], truth.attentions)


def test_whole_maps_of_layers_and_heads_are_those_of_python(command, tmp_path):
    run = command("attentions", "x.fasta", "-o", "x.npz", "--layers", "-1,1-2", "--heads", "0-2")
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("x.npz: 9 attention maps of sp|P1|X, esm2-demo on cpu")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"maps", "layers", "heads", "id", "sequence", "meta"}
        assert arrays["layers"].tolist() == [6, 1, 2]
        assert arrays["heads"].tolist() == [0, 1, 2]
        with esm2.load("esm2-demo", device="cpu") as model:
            close(arrays["maps"], model.attention_maps(SEQUENCE, [6, 1, 2], range(3)))
    assert command("attentions", "x.fasta", "-o", "x.npz", "--heads", "4", "-q").returncode == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert (arrays["layers"].tolist(), arrays["heads"].tolist()) == ([6], [4])


@pytest.mark.parametrize(
    ("status", "arguments", "message"),
    [
        (2, ["-o", "x.csv", "--layers", "1"], "--layers: whole maps go into an .npz"),
        (2, ["-o", "x.npz", "--heads", "1", "--picture", "x.png"], "--heads: whole maps go into"),
        (2, ["-o", "x.npz", "--heads", "a"], "--heads: 'a' is not a head"),
        (2, ["-o", "x.npz", "--layers", "4-1"], "--layers: '4-1' is not a range of layers"),
        (1, ["-o", "x.npz", "--layers", "0"], "layer 0 is the embedding, which has no attention"),
        (1, ["-o", "x.npz", "--heads", "6"], "head 6 does not exist; each layer of this model has"),
    ],
)
def test_maps_that_there_are_not_are_refused(command, tmp_path, status, arguments, message):
    run = command("attentions", "x.fasta", *arguments)
    assert (run.returncode, message in run.stderr.splitlines()[-1]) == (status, True), run.stderr
    assert files(tmp_path) == ["x.fasta", "x.pdb"]


# --- structures and pictures -------------------------------------------------------------------


def test_with_a_structure_precision_is_printed_and_its_contacts_are_drawn(command, tmp_path, truth):
    run = command("contacts", "x.fasta", "--pdb", "x.pdb", "--chain", "A", "--picture", "x.svg")
    assert run.returncode == 0, run.stderr
    assert "x.pdb: 22 of 24 residues have coordinates in chain A" in run.stderr
    header, *rows = [line.split() for line in run.stdout.splitlines()]
    assert header == ["range", "apart", "contacts", "P@L", "P@L/2", "P@L/5"]
    assert [row[:2] for row in rows] == [
        ["long", "24+"],
        ["medium", "12-23"],
        ["short", "6-11"],
        ["all", "6+"],
    ]
    chain = structure.read_chain(tmp_path / "x.pdb")
    real, known = structure.true_contacts(chain, structure.align(chain, SEQUENCE))
    wanted = structure.precisions(truth.contacts, real, known)
    for row, want in zip(rows, wanted, strict=True):
        shares = ["-" if share is None else f"{share:.3f}" for share in want.at]
        assert row[2:] == [str(want.contacts), *shares]
    assert rows[0][3:] == ["-", "-", "-"]  # no two of 24 residues are 24 apart
    picture = (tmp_path / "x.svg").read_text()
    assert ">Contacts, sp|P1|X, esm2-demo<" in picture
    assert ">not in the structure<" in picture


def test_a_picture_may_be_all_that_is_wanted(command, tmp_path):
    run = command("contacts", "x.fasta", "--picture", "x.png")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("hidden", "arguments", "advice"),
    [
        ("matplotlib", ["--picture", "x.png"], "'matplotlib>=3.9'"),
        ("biotite", ["--pdb", "x.pdb"], "pip install 'biotite>="),
    ],
)
def test_what_is_not_installed_is_told_before_anything_is_computed(
    command, tmp_path, hidden, arguments, advice
):
    code = f"import sys; sys.modules[{hidden!r}] = None; sys.modules['torch'] = None; {MAIN}"
    run = command("contacts", "x.fasta", *arguments, code=code)
    assert run.returncode == 1
    assert advice in run.stderr
    assert run.stderr.endswith("[settings.missing_extra]\n")
    assert files(tmp_path) == ["x.fasta", "x.pdb"]


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two.fasta", "-o", "x.npz"], "two.fasta, line 3: a second record; this command takes"),
        (["none.fasta", "-o", "x.npz"], "cannot read none.fasta"),
        (["x.fasta", "-o", "none/x.npz"], "cannot write none/x.npz: there is no directory none"),
        (["x.fasta", "-o", "x.npz", "--picture", "none/x.png"], "cannot write none/x.png"),
        (["x.fasta", "-o", "x.npz", "--max-residues", "9"], "the sequence has 24 residues"),
        (["--sequence", "MKt", "-o", "x.npz"], "residue 3 is 't'"),
        (["--sequence", "", "-o", "x.npz"], "the sequence is empty"),
        (["--sequence", "MK<mask>", "-o", "x.npz"], "residue 3 is <mask>"),
        (["x.fasta", "--pdb", "x.pdb", "--chain", "B"], "x.pdb: it has no protein chain B, only A"),
        (["x.fasta", "--pdb", "y.pdb"], "cannot read y.pdb"),
        (["x.fasta", "--pdb", "x.fasta"], "x.fasta: its ending is none of .pdb"),
        (
            ["--sequence", "W" * 30, "--pdb", "x.pdb"],
            "x.pdb: chain A is not this protein: of 22 residues",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1_before_a_model_is_loaded(
    command, tmp_path, arguments, message
):
    (tmp_path / "two.fasta").write_text(">a\nMKT\n>b\nMKT\n")
    code = f"import sys; sys.modules['torch'] = None; {MAIN}"
    run = command("contacts", *arguments, code=code)
    line = run.stderr.splitlines()[-1]
    assert line.startswith(f"esm2: {message}")
    assert re.search(r" \[[a-z_.]+\]$", line)
    assert run.returncode == 1
    assert files(tmp_path) == ["two.fasta", "x.fasta", "x.pdb"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.fasta", "-o", "x.h5"], "x.h5 has no ending that is known here; use .npz or .csv or"),
        (["x.fasta", "--picture", "x.pdf"], "x.pdf has no ending .*; use .png or .svg"),
        (["x.fasta", "-o", "x.npz", "--picture", "x.jpg"], "x.jpg has no ending"),
        (["x.fasta"], "name a file with --output, a --picture, or a structure with --pdb"),
        (["-o", "x.npz"], "give a FASTA file, or a protein with --sequence"),
        (["x.fasta", "--sequence", "MKT", "-o", "x.npz"], "give a FASTA file, or a protein"),
        (["in.npz", "-o", "in.npz"], "in.npz is the input file"),
        (["x.fasta", "-o", "x.npz", "--chain", "A"], "it is for a structure with --pdb"),
        (["x.fasta", "-o", "x.npz", "--top", "5"], "--top: it is for a list of pairs, a .tsv"),
        (["x.fasta", "-o", "x.csv", "--separation", "5"], "--separation: it is for a list"),
        (["x.fasta", "-o", "x.npz", "--dark"], "it is for a --picture"),
    ],
)
def test_wrong_usage_is_status_2(command, tmp_path, arguments, message):
    (tmp_path / "in.npz").write_text(FASTA)
    run = command("contacts", *arguments)
    assert re.search(message, run.stderr.splitlines()[-1])
    assert run.returncode == 2
    assert files(tmp_path) == ["in.npz", "x.fasta", "x.pdb"]
    assert (tmp_path / "in.npz").read_text() == FASTA


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["-o", "x.npz"], "x.npz"), (["-o", "x.csv"], "x.csv"), (["--picture", "x.png"], "x.png")],
)
def test_a_full_disk_leaves_the_old_file_and_is_told_by_the_name_that_was_given(
    command, tmp_path, arguments, name
):
    (tmp_path / name).write_text("old")
    run = command("contacts", "x.fasta", *arguments, limit=1000)
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last == f"esm2: cannot write {name}: File too large [file.failed]"
    assert (tmp_path / name).read_text() == "old"
    assert files(tmp_path) == sorted(["x.fasta", "x.pdb", name])
