"""`esm2 extract` against fair-esm: same arguments, same files, same numbers."""

import os
import signal
import sys

import pytest
import torch

from esm2.cli import main
from esm2.numerics import FAIR_ESM
from tests.checkpoints import save_fair_esm
from tests.cli.interrupted import Process, entries, proteins, run
from tests.near import assert_near
from tests.oracles import fair_esm_outputs
from tests.proteins import residues
from tests.storing import names

KINDS = ("--include", "mean", "per_tok", "bos", "contacts")


@pytest.fixture(scope="module")
def model(reference):
    """Two layers of 32 dimensions, in fair-esm."""
    return reference("tiny").model


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    """The same as the file that fair-esm would load."""
    return save_fair_esm(model, tmp_path_factory.mktemp("fair") / "esm2_random.pt")


@pytest.fixture
def extract(checkpoint, tmp_path, monkeypatch, capfd):
    """Run the command here, in an empty directory: its status, and what it told."""
    monkeypatch.chdir(tmp_path)

    def call(fasta, directory, *arguments):
        (tmp_path / "x.fasta").write_bytes(fasta)
        command = ["esm2", "extract", str(checkpoint), "x.fasta", str(directory), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert out == ""
        return ended.value.code, err.splitlines()

    return call


def load(path):
    return torch.load(path, weights_only=True)


def fasta_of(sequences):
    return "".join(f">{name}\n{own}\n" for name, own in sequences.items()).encode()


# --- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 30])
def test_every_file_has_what_fair_esm_gives(extract, model, tmp_path, limit):
    sequences = {
        "one with a description": "".join(residues(50, rare=0.1)),
        "two": "M",
        "three|of|them": "".join(residues(31, seed=1)),
        "four": "".join(residues(30, seed=2)),
    }
    options = ["--repr_layers", "0", "1", "-1", *KINDS, "--toks_per_batch", "64", "--nogpu"]
    if limit:
        options += ["--truncation_seq_length", str(limit)]
    status, told = extract(fasta_of(sequences), "out", *options)
    assert status == 0
    assert names(tmp_path) == ["out", "x.fasta"]
    assert names(tmp_path / "out") == sorted(f"{label}.pt" for label in sequences)
    assert any("2 records of more than 30 residues truncated" in line for line in told) == bool(
        limit
    )
    for label, sequence in sequences.items():
        found = load(tmp_path / "out" / f"{label}.pt")
        want = fair_esm_outputs(model, sequence[:limit])
        assert list(found) == [
            *("label", "representations", "mean_representations", "bos_representations"),
            "contacts",
        ]
        assert found["label"] == label
        words = {"per_token": "representations", "mean": "mean_representations"}
        for kind, word in {**words, "bos": "bos_representations"}.items():
            assert list(found[word]) == [0, 1, 2]
            for layer, tensor in found[word].items():
                assert tensor.dtype == torch.float32
                assert tensor.shape == want[f"{kind} {layer}"].shape
                assert_near(tensor, want[f"{kind} {layer}"], FAIR_ESM)
        assert_near(found["contacts"], want["contacts"], FAIR_ESM, "contacts")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("mean", "mean_representations"),
        ("per_tok", "representations"),
        ("bos", "bos_representations"),
        ("contacts", "contacts"),
    ],
)
def test_only_what_was_asked_for_is_there_of_the_last_layer(extract, tmp_path, kind, word):
    assert extract(b">a\nMKTAY\n", "out", "--include", kind)[0] == 0
    found = load(tmp_path / "out" / "a.pt")
    assert list(found) == ["label", word]
    assert kind == "contacts" or list(found[word]) == [2]


def test_more_than_1022_residues_are_truncated_and_that_is_told(extract, tmp_path):
    sequence = "".join(residues(1030))
    status, told = extract(fasta_of({"a": sequence}), "out", "--include", "per_tok")
    assert status == 0
    assert "out: 1 record of more than 1022 residues truncated to their first 1022" in told
    assert load(tmp_path / "out" / "a.pt")["representations"][2].shape == (1022, 32)


# --- names ---------------------------------------------------------------------------------------


def test_names_of_files_are_those_of_fair_esm(extract, tmp_path):
    fasta = b">a/b/c d\nMKT\n>\nMKT\n>  \nMK\nT\n> trimmed \nMKT\n"
    status, _ = extract(fasta, "out", "--include", "mean")
    assert status == 0
    found = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.pt"))
    assert list(map(str, found)) == [
        "a/b/c d.pt",
        "seqnum000000002.pt",
        "seqnum000000004.pt",
        "trimmed.pt",
    ]
    assert load(tmp_path / "out" / "a" / "b" / "c d.pt")["label"] == "a/b/c d"
    assert load(tmp_path / "out" / "seqnum000000002.pt")["label"] == "seqnum000000002"


def test_headers_that_cannot_name_a_file_of_their_own_are_rejects(extract, tmp_path):
    fasta = b">../a\nMKT\n>b/../../c\nMKT\n>/tmp/d\nMKT\n>e f\nMKT\n>e f\nGGG\n>e\0\nMKT\n>e\nM\n"
    status, told = extract(fasta, "out", "--include", "mean")
    assert status == 3
    assert [line.partition(", ")[2].partition(",")[0] for line in told[:5]] == [
        *("line 1", "line 3", "line 5", "line 9", "line 11"),
    ]
    assert names(tmp_path) == ["out", "out.rejects.fasta", "x.fasta"]
    assert names(tmp_path / "out") == ["e f.pt", "e.pt"]
    assert load(tmp_path / "out" / "e f.pt")["label"] == "e f"
    assert (tmp_path / "out.rejects.fasta").read_text().count(">") == 5


def test_a_name_that_is_too_long_is_cut_and_that_is_told(extract, tmp_path):
    long = "ü" * 200
    fasta = fasta_of({long + "1": "MKT", long + "2": "GGG", "x" * 252: "M", "y" * 253: "M"})
    status, told = extract(fasta, "out", "--include", "mean")
    assert status == 0
    assert any(line.startswith("out: 3 names too long for a file; cut") for line in told)
    found = names(tmp_path / "out")
    assert len(found) == 4
    assert "x" * 252 + ".pt" in found
    assert all(len(os.fsencode(name)) <= 255 and name.endswith(".pt") for name in found)
    assert {load(tmp_path / "out" / name)["label"] for name in found} == {
        *(long + "1", long + "2", "x" * 252, "y" * 253),
    }


@pytest.mark.parametrize(
    "headers",
    [["a", "a.pt/b"], ["a.pt/b", "a"], ["/".join(["x" * 200] * 25)], [".esm2.part/a"]],
    ids=["a directory in the place of a file", "the other way", "a long path", "our own name"],
)
def test_no_header_stops_the_records_behind_it(extract, tmp_path, headers):
    fasta = "".join(f">{header}\nMKT\n" for header in [*headers, "last"]).encode()
    status, told = extract(fasta, "out", "--include", "mean")
    assert (tmp_path / "out" / "last.pt").exists()
    assert told[-1].startswith("out: ")
    assert status in {0, 3}


def test_the_directory_may_be_the_one_we_are_in(extract, tmp_path):
    assert extract(b">a\nMKT\n", ".", "--include", "mean")[0] == 0
    assert load(tmp_path / "a.pt")["label"] == "a"


def test_an_input_in_the_place_of_the_rejects_is_not_written_over(extract, tmp_path):
    status, told = extract(b">a\nMKT\n", "x", "--include", "mean")
    assert status == 0  # beside x.fasta there is room for x.rejects.fasta
    (tmp_path / "x.fasta").rename(tmp_path / "y.rejects.fasta")
    (tmp_path / "x.fasta").symlink_to("y.rejects.fasta")
    status, told = extract(b">a\nMKT\n", "y", "--include", "mean")
    assert status == 2
    assert "y.rejects.fasta is the input file" in told[-1]
    assert (tmp_path / "y.rejects.fasta").read_bytes() == b">a\nMKT\n"


def test_bad_records_are_told_and_left_out(extract, tmp_path):
    status, told = extract(b">a\nMKt\n>b\n\n>c\nMKT\n", "out", "--include", "mean")
    assert status == 3
    assert told[0].startswith("x.fasta, line 1, record a: residue 3 is 't'")
    assert told[1].startswith("x.fasta, line 3, record b: the sequence is empty")
    assert told[-1].endswith("2 records left out, see out.rejects.fasta")
    assert names(tmp_path / "out") == ["c.pt"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "the following arguments are required: --include"),
        (["--include", "logits"], 2, "invalid choice: 'logits'"),
        (["--include", "mean", "--truncation_seq_length", "0"], 2, "0 is not a number of residues"),
        (["--include", "mean", "--toks_per_batch", "x"], 2, "invalid number of tokens value: 'x'"),
        (["--include", "mean", "--repr_layers", "3"], 1, "layer 3 does not exist"),
    ],
)
def test_what_cannot_be_done_is_told_and_makes_no_directory(
    extract, tmp_path, arguments, status, message
):
    got, told = extract(b">a\nMKT\n", "out", *arguments)
    assert message in told[-1]
    assert got == status
    assert names(tmp_path) == ["x.fasta"]


def test_a_full_disk_is_told_in_one_sentence_and_what_was_done_is_kept(tmp_path, checkpoint):
    fasta = f">a\nMKT\n>b\n{'MKTAYIAKQR' * 90}\n".encode()
    arguments = ("extract", checkpoint, "-", "out", "--include", "per_tok")
    done = run(tmp_path, *arguments, stdin=fasta, full_at=50_000)
    assert (done.status, done.told) == (
        1,
        [
            "1 record is kept in out.part; the same command goes on from there",
            "esm2: cannot write out/b.pt: File too large [file.failed]",
        ],
    )
    assert names(tmp_path / "out") == ["a.pt"]


# --- interrupted ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory, checkpoint):
    """A directory with a run that was killed, what it was told, and what it had done."""
    directory = tmp_path_factory.mktemp("killed")
    records = [own for own in proteins(60) if not own.endswith(b"\n\n")]
    arguments = ("extract", checkpoint, "-", "out", "--include", "mean", "per_tok")
    for until in (10, 25):
        with Process(directory, *arguments) as process:
            process.feed(records, directory / "out.part" / "journal.jsonl", until)
            assert process.stop(signal.SIGKILL).status == -signal.SIGKILL
    return directory, arguments, b"".join(records)


def files(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.pt")}


def test_a_killed_run_goes_on_and_one_with_a_file_gone_is_refused(killed, tmp_path):
    directory, arguments, fasta = killed
    done_before = entries(directory / "out.part" / "journal.jsonl")
    assert done_before >= 25
    lost = directory / "out" / "r3 number 3.pt"
    content = lost.read_bytes()
    lost.unlink()
    refused = run(directory, *arguments, stdin=fasta)
    assert refused.status == 1
    assert "out/r3 number 3.pt is not there any more" in refused.told[-1]
    assert "[file.cannot_resume]" in refused.told[-1]
    lost.write_bytes(content)

    done = run(directory, *arguments, stdin=fasta)
    assert done.status == 3  # some are rejected
    assert done.told[0].startswith(f"going on after {done_before} records done before, ")
    whole = run(tmp_path, *arguments, stdin=fasta)
    assert whole.status == 3
    assert files(directory / "out") == files(tmp_path / "out")
    assert names(directory) == names(tmp_path) == ["out", "out.rejects.fasta"]
    assert (directory / "out.rejects.fasta").read_bytes() == (
        tmp_path / "out.rejects.fasta"
    ).read_bytes()
