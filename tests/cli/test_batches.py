"""What a person's script sees: exit statuses, several files, links, and few lines of trouble."""

from __future__ import annotations

import contextlib
import io
import json
import sys

import numpy as np
import pytest

import esm2
from esm2.cli import main
from tests.cli.interrupted import Done


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Done:
        told, out = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["esm2", *map(str, arguments)])
        with (
            contextlib.redirect_stderr(told),
            contextlib.redirect_stdout(out),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        status = int(ended.value.code or 0)
        return Done(status, out.getvalue().encode(), told.getvalue().splitlines())

    return command


def write(tmp_path, name: str, *sequences: str) -> None:
    text = "".join(f">{name}{i}\n{own}\n" for i, own in enumerate(sequences))
    (tmp_path / f"{name}.fasta").write_text(text)


def arrays(path):
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


@pytest.mark.parametrize("command", ["embed", "pll"])
def test_the_status_says_whether_all_some_or_none_were_written(run, tmp_path, command):
    write(tmp_path, "all", "MKT", "GG")
    write(tmp_path, "some", "MKT", "gg")
    write(tmp_path, "none", "mkt", "gg")
    ending = "npz" if command == "embed" else "csv"
    for name, status in (("all", 0), ("some", 3), ("none", 1)):
        assert run(command, f"{name}.fasta", "-o", f"{name}.{ending}").status == status
        assert (tmp_path / f"{name}.{ending}").exists() == (status != 1)
    strict = run(command, "some.fasta", "--strict", "-o", f"strict.{ending}")
    assert strict.status == 1
    assert "some.fasta, line 3, record some1: residue 1 is 'g'" in strict.told[-1]
    assert not (tmp_path / f"strict.{ending}").exists()


@pytest.mark.parametrize("command", ["embed", "pll"])
def test_after_twenty_refused_records_the_rest_is_a_number(run, tmp_path, command):
    write(tmp_path, "x", "MKT", *["mkt"] * 60)
    done = run(command, "x.fasta", "-o", "x.npz" if command == "embed" else "x.csv")
    assert done.status == 3
    assert len(done.told) == 22
    assert done.told[0].endswith("write residues in upper case, or pass --upper")
    assert done.told[20] == "x.fasta: 40 more records refused"
    assert "60 records left out" in done.told[21]


def test_lower_case_can_be_read_as_upper_case(run, tmp_path):
    write(tmp_path, "x", "mkt<mask>a", "MKT<mask>A")
    assert run("embed", "x.fasta", "-o", "x.npz", "--upper").status == 0
    lower, upper = arrays(tmp_path / "x.npz")["embeddings"]
    np.testing.assert_array_equal(lower, upper)


def test_several_files_are_one_input_and_trouble_names_its_file(run, tmp_path):
    write(tmp_path, "a", "MKT", "GG")
    write(tmp_path, "b", "mkt", "GGG")
    done = run("embed", "a.fasta", "b.fasta", "-o", "x.npz")
    assert done.status == 3
    assert done.told[0].startswith("b.fasta, line 1, record b0: residue 1 is 'm'")
    found = arrays(tmp_path / "x.npz")
    assert found["ids"].tolist() == ["a0", "a1", "b1"]
    assert json.loads(str(found["meta"]))["source"] == "a.fasta, b.fasta"
    assert "[b.fasta, line 1: " in (tmp_path / "x.npz.rejects.fasta").read_text()
    assert run("embed", "-", "-", "-o", "y.npz").status == 2
    done = run("pll", "a.fasta", "b.fasta", "-q", "-o", "x.csv")
    assert [line[:2] for line in (tmp_path / "x.csv").read_text().splitlines()[1:]] == [
        *("a0", "a1", "b1")
    ]


@pytest.mark.parametrize("command", ["embed", "pll", "scan"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b.fast", "cannot read b.fast: No such file or directory"),
        (".", "cannot read .: Is a directory"),
        ("notes.txt", "notes.txt, line 1: text before the first record"),
    ],
)
def test_a_wrong_name_at_the_end_is_told_before_the_model_is_loaded(
    run, tmp_path, command, name, message
):
    write(tmp_path, "a", "MKT")
    (tmp_path / "notes.txt").write_text("1. Ask Anna about the plates.\n")
    output = "x.npz" if command == "embed" else "x.csv"
    done = run(command, "a.fasta", "-", name, "-o", output, "--model", "no such model")
    (line,) = done.told
    assert (done.status, line.startswith(f"esm2: {message}")) == (1, True), line


@pytest.mark.parametrize("command", ["pll", "scan"])
def test_ids_that_several_records_have_are_told(run, tmp_path, command):
    names = "abcdefgabcdefa"
    fasta = "".join(f">{name} of a test\nMK\n" for name in names) + ">bad\nmk\n>bad\nmk\n"
    (tmp_path / "x.fasta").write_text(fasta)
    done = run(command, "x.fasta", "-q", "-o", "x.csv")
    assert done.told[2] == (
        "ids that occur more than once (all their records are kept, in order): a (3 times), b (2"
        " times), c (2 times), d (2 times), e (2 times) and 1 more"
    )


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["contacts"], "x.NPZ"),
        (["contacts"], "x.Csv"),
        (["contacts", "--top", "3"], "x.TSV"),
        (["attentions"], "x.CSV"),
        (["attentions", "--heads", "0"], "x.NPZ"),
        (["logits"], "x.NPZ"),
        (["fill-mask"], "x.CSV"),
        (["pll", "--approximate"], "x.TSV.GZ"),
        (["scan"], "x.TSV"),
        (["embed"], "x.NPZ"),
    ],
)
def test_an_ending_in_upper_case_is_the_same_ending(run, tmp_path, command, output):
    write(tmp_path, "a", "MK<mask>AYIAKQR" if command == ["fill-mask"] else "MKTAYIAKQR")
    for name in (output, output.lower()):
        done = run(*command, "a.fasta", "-q", "-o", name)
        assert done.status == 0, done.told
    assert (tmp_path / output).read_bytes() == (tmp_path / output.lower()).read_bytes()


def test_odd_records_are_counted_in_the_closing_line_even_quietly(run, tmp_path):
    write(tmp_path, "x", "ACGTACGTTAGC", "----", "XXX", "MKT")
    done = run("embed", "x.fasta", "-q", "-o", "x.npz")
    assert done.status == 0
    (line,) = done.told
    assert "; 1 of the records looks like DNA or RNA" in line
    assert "; 2 of the records have no residue that is known" in line


def test_a_missing_line_end_is_called_so(run, tmp_path):
    (tmp_path / "x.fasta").write_text(">a\nMKT*>b\nGG\n>c\nMKT\n")
    done = run("embed", "x.fasta", "-o", "x.npz")
    assert done.status == 3
    assert "a line end is missing and two records are one" in done.told[0]


def test_a_row_of_an_a3m_is_called_so(run, tmp_path):
    (tmp_path / "x.a3m").write_text(">a\nMKT\n>b\nM-kT\n")
    assert "A3M or A2M alignment" in run("embed", "x.a3m", "-o", "x.npz").told[0]


def test_layers_may_be_a_range_and_kinds_may_have_the_names_of_fair_esm(run, tmp_path):
    write(tmp_path, "x", "MKT")
    run("embed", "x.fasta", "-o", "x.npz", "--layers", "1-3,-1", "--include", "per_tok")
    found = arrays(tmp_path / "x.npz")
    assert found["layers"].tolist() == [1, 2, 3, 6]
    assert found["per_token_embeddings"].shape == (3, 4, 192)
    for wrong in ("4-1", "0--1", "1-99999999999", "1-", "a-b"):
        assert run("embed", "x.fasta", "-o", "y.npz", "--layers", wrong).status == 2


def test_a_limit_names_the_flag_that_raises_it(run, tmp_path):
    write(tmp_path, "x", "MKT", "MKTAY")
    done = run("embed", "x.fasta", "-o", "x.npz", "--max-residues", 4)
    assert done.told[0].endswith("shorten it, or raise --max-residues")
    done = run("logits", "--sequence", "MKTAY", "-o", "x.csv", "--max-residues", 4)
    assert "raise --max-residues [request.sequence_too_long]" in done.told[-1]


def test_a_path_where_no_model_is_is_told_so(run, tmp_path):
    write(tmp_path, "x", "MKT")
    done = run("embed", "x.fasta", "-o", "x.npz", "--model", "/no/such/model")
    assert done.status == 1
    assert "/no/such/model: no such file or directory" in done.told[-1]


def test_a_finished_file_is_written_over_only_by_force(run, tmp_path):
    write(tmp_path, "x", "MKT")
    (tmp_path / "x.npz").write_text("precious")
    done = run("embed", "x.fasta", "-o", "x.npz")
    assert done.status == 1
    assert "cannot write x.npz: it is there already; --force writes over it" in done.told[-1]
    assert (tmp_path / "x.npz").read_text() == "precious"
    assert run("embed", "x.fasta", "-o", "x.npz", "--force").status == 0
    assert arrays(tmp_path / "x.npz")["ids"].tolist() == ["x0"]


@pytest.mark.parametrize(
    "command",
    [["embed", "-o", "x.npz", "--force"], ["pll", "-o", "x.csv"], ["contacts", "-o", "x.tsv"]],
)
def test_output_goes_through_a_link_and_keeps_the_mode_of_the_file(run, tmp_path, command):
    write(tmp_path, "x", "MKTAYIAKQR")
    name = command[2]
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / name).write_text("old")
    (tmp_path / "far" / name).chmod(0o600)
    (tmp_path / name).symlink_to(f"far/{name}")
    assert run(command[0], "x.fasta", *command[1:]).status == 0
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "far" / name).read_bytes() != b"old"
    assert (tmp_path / "far" / name).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "far").iterdir()] == [name]


def test_an_id_of_any_length_takes_its_own_room_alone(run, tmp_path):
    write(tmp_path, "x", *["MKT"] * 20)
    with (tmp_path / "x.fasta").open("a") as out:
        out.write(f">{'i' * 20_000}\nMKT\n")
    done = run("embed", "x.fasta", "-o", "x.npz")
    assert (tmp_path / "x.npz").stat().st_size < 60_000
    (note,) = [line for line in done.told if "ids_utf8" in line]
    assert "an id has 20,000 characters" in note
    found = arrays(tmp_path / "x.npz")
    assert "ids" not in found
    ids = bytes(found["ids_utf8"]).decode().split("\n")
    assert ids == [*(f"x{i}" for i in range(20)), "i" * 20_000]


def test_the_version_is_told(run):
    done = run("--version")
    assert (done.status, done.stdout) == (0, f"esm2 {esm2.__version__}\n".encode())
