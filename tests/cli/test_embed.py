"""`esm2 embed` as a person runs it: a process of its own, on the checkpoint in the package."""

import contextlib
import gzip
import json
import lzma
import os
import pty
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import esm2
from esm2 import alphabet, loading, runtime
from esm2.catalog import DEMO_SLUG
from esm2.numerics import MORE
from esm2.types import ForwardRequest, Want
from tests.cli import warm
from tests.cli.interrupted import Process
from tests.near import assert_near, assert_same

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMMAND = [sys.executable, "-c", "from esm2.cli import main; main()", "embed"]
RECORDS = [("b", "MKTAYIAKQR"), ("a", "GG<mask>A"), ("c", "M"), ("a", "ACDEFGHIKL" * 5)]
FASTA = "".join(f">{name} of a test\n{sequence}\n" for name, sequence in RECORDS).encode()
DUPLICATES = "ids that occur more than once (all their records are kept, in order): a (2 times)"
BAD_FASTA = b">good\nMKT\n>lower\nMKt\n>none\n\n>long\nMMMMMMMMMMM\n>fine\nGGG\n"


@pytest.fixture
def embed(tmp_path):
    """Run the command in an empty directory."""

    def run(*arguments, stdin=b""):
        return warm.run(tmp_path, "embed", *arguments, stdin=stdin)

    return run


def files(path):
    return sorted(entry.name for entry in path.iterdir())


def told(run):
    return run.stderr.decode().splitlines()


def load(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def truth():
    """What the model gives for each record, asked one at a time."""
    want = Want((0, 5, 6), mean=True, per_token=True, bos=True)
    with runtime.open_model(DEMO_SLUG, device="cpu") as served:
        return [
            served.submit(ForwardRequest(alphabet.tokenize(sequence), want)).result()
            for _, sequence in RECORDS
        ]


# --- what is written -----------------------------------------------------------------------------


def test_everything_is_in_input_order_with_the_numbers_of_the_model_and_told_at_the_end(
    embed, tmp_path, truth
):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    run = embed(
        *("x.fasta", "-o", "x.npz", "--device", "cpu", "--dtype", "float32"),
        *("--layers", "-1,-2", "--layers=-7", "--include", "mean,per-token", "--include=bos"),
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == b""
    duplicates, last = told(run)
    assert duplicates == DUPLICATES
    assert re.fullmatch(
        r"x\.npz: 4 records, 65 residues in \d+\.\d s \([\d,]+ residues/s\), esm2-demo on cpu,"
        r" float32; a tiny model, trained for two hours: to try things, not for science",
        last,
    )
    found = load(tmp_path / "x.npz")

    assert found["ids"].tolist() == ["b", "a", "c", "a"]
    assert found["lengths"].tolist() == [10, 4, 1, 50]
    assert found["layers"].tolist() == [0, 5, 6]
    for i, outputs in enumerate(truth):
        rows = slice(*found["offsets"][i : i + 2])
        for k, layer in enumerate([0, 5, 6]):
            assert_same(found["embeddings"][i, k], outputs.mean[layer])
            assert_same(found["bos_embeddings"][i, k], outputs.bos[layer])
            assert_same(found["per_token_embeddings"][rows, k], outputs.per_token[layer])
    meta = json.loads(str(found["meta"]))
    assert re.fullmatch("[0-9a-f]{64}", meta.pop("weights_sha256"))
    assert meta == {
        "esm2": esm2.__version__,
        "model": "esm2-demo",
        "weights_kind": "demo",
        "device": "cpu",
        "dtype": "float32",
        "include": ["mean", "per_token", "bos"],
        "layers": [0, 5, 6],
        "pooling": "mean,none,bos",
        "source": "x.fasta",
    }
    assert files(tmp_path) == ["x.fasta", "x.npz"]


@pytest.mark.parametrize(
    ("compress", "name"),
    [(gzip.compress, "x.txt"), (lzma.compress, "x.fasta.gz"), (zstd.compress, "-")],
    ids=["gzip", "xz", "zstd from standard input"],
)
def test_compressed_input_gives_the_mean_of_the_last_layer_quietly(
    embed, tmp_path, truth, compress, name
):
    if name != "-":
        (tmp_path / name).write_bytes(compress(FASTA))
    run = embed(name, "-o", "x.npz", "--device", "cpu", "--quiet", stdin=compress(FASTA))
    assert run.returncode == 0, run.stderr
    assert told(run) == [DUPLICATES]  # quiet
    found = load(tmp_path / "x.npz")
    assert set(found) == {"ids", "lengths", "layers", "embeddings", "meta"}
    assert found["ids"].tolist() == ["b", "a", "c", "a"]
    assert found["layers"].tolist() == [6]
    assert_near(found["embeddings"], [outputs.mean[6] for outputs in truth], MORE)


# --- what is told --------------------------------------------------------------------------------


def test_custom_weights_are_called_custom(embed, tmp_path):
    shutil.copytree(loading.DEMO_DIRECTORY, tmp_path / "mine")
    weights = load_file(tmp_path / "mine/model.safetensors")
    weights["lm_head.bias"] = weights["lm_head.bias"] + np.float16(1)
    save_file(weights, tmp_path / "mine/model.safetensors")
    run = embed("-", "-o", "x.npz", "--model", "mine=mine", stdin=b">a\nMKT\n")
    assert run.returncode == 0, run.stderr
    assert re.search(r"mine on .*; not the published weights$", told(run)[-1])
    assert json.loads(str(load(tmp_path / "x.npz")["meta"]))["weights_kind"] == "custom"


def test_bad_records_are_told_and_left_out_and_the_rest_is_written(embed, tmp_path):
    (tmp_path / "x.fasta").write_bytes(BAD_FASTA)
    run = embed("x.fasta", "-o", "x.npz", "--max-residues", "10")
    assert run.returncode == 3
    lower, none, long, last = told(run)
    assert lower.startswith("x.fasta, line 3, record lower: residue 3 is 't', ")
    assert none.startswith("x.fasta, line 5, record none: the sequence is empty")
    assert long.startswith("x.fasta, line 7, record long: the sequence has 11 residues, the limit")
    assert last.startswith("x.npz: 2 records, 6 residues")
    assert last.endswith("; 3 records left out, see x.npz.rejects.fasta")
    found = load(tmp_path / "x.npz")
    assert found["ids"].tolist() == ["good", "fine"]
    assert found["embeddings"].shape[0] == 2
    rejects = (tmp_path / "x.npz.rejects.fasta").read_text().splitlines()
    assert [line[: line.index(":")] for line in rejects[::2]] == [
        ">lower [line 3",
        ">none [line 5",
        ">long [line 7",
    ]
    assert rejects[1::2] == ["MKt", "", "M" * 11]
    assert files(tmp_path) == ["x.fasta", "x.npz", "x.npz.rejects.fasta"]


def test_progress_is_shown_on_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [*COMMAND, "-", "-o", "x.npz"],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
        )
        os.close(theirs)
        process.stdin.write(b">a\x1b[2J\nMKt\n>b\nMKT\n")
        process.stdin.close()
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := terminal.read(4096):
                shown += part
        assert process.wait() == 3
    text = shown.decode()
    assert "2 records, 3 residues" in text
    assert "record 'a\\x1b[2J': residue 3" in text
    assert "x.npz: 1 record, 3 residues in" in text


# --- what is refused -----------------------------------------------------------------------------


def test_when_no_record_can_be_embedded_there_are_only_rejects(embed, tmp_path):
    run = embed("-", "-o", "x.npz", stdin=b">a\nMKt\n>b\n\n")
    assert run.returncode == 1
    assert told(run)[2:] == [
        "esm2: no record of - could be embedded (2 rejected, see x.npz.rejects.fasta); x.npz was"
        " not written [request.invalid]"
    ]
    assert files(tmp_path) == ["x.npz.rejects.fasta"]
    rejects = (tmp_path / "x.npz.rejects.fasta").read_text()
    assert re.fullmatch(r">a \[line 1: .*\]\nMKt\n>b \[line 3: .*\]\n\n?", rejects)


def test_a_damaged_file_gives_no_file(embed, tmp_path):
    run = embed("-", "-o", "x.npz", stdin=gzip.compress(FASTA)[:-6])
    assert run.returncode == 1
    assert "the compressed data is damaged or cut short" in told(run)[-1]
    assert not (tmp_path / "x.npz").exists()


def test_a_layer_that_the_model_does_not_have_is_refused(embed, tmp_path):
    run = embed("-", "-o", "x.npz", "--layers", "7", stdin=FASTA)
    assert run.returncode == 1
    assert told(run) == [
        "esm2: layer 7 does not exist; this model has layers 0 (embedding) to 6, or -1 (last) to"
        " -7 from the end [request.layer_out_of_range]"
    ]
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.fasta", "-o", "x.npz"], "cannot read missing.fasta: No such file"),
        ([".", "-o", "x.npz"], "cannot read .: Is a directory"),
        (["-", "-o", "x.npz"], "-, line 1: the file is empty"),
        (["x.fasta", "-o", "missing/x.npz"], "cannot write missing/x.npz: there is no directory"),
        (["x.fasta", "-o", "x.fasta/x.npz"], "cannot write x.fasta/x.npz: there is no directory"),
        (["x.fasta", "-o", "y.npz"], "cannot write y.npz: it is a directory"),
        (["x.fasta", "-o", "x.npz", "--model", "esm2-8b"], "no model is called 'esm2-8b'"),
        (["x.fasta", "-o", "x.npz", "--dtype", "int3"], "dtype 'int3' is not supported"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1(embed, tmp_path, arguments, message):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    (tmp_path / "y.npz").mkdir()
    run = embed(*arguments)
    (line,) = told(run)
    assert line.startswith(f"esm2: {message}")
    assert re.search(r" \[[a-z_.]+\]$", line)
    assert run.returncode == 1
    assert files(tmp_path) == ["x.fasta", "y.npz"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_refused(embed, tmp_path):
    (tmp_path / "closed").mkdir(0o500)
    run = embed("-", "-o", "closed/x.npz", stdin=FASTA)
    assert run.returncode == 1
    assert told(run)[-1].startswith("esm2: cannot write closed/x.npz: Permission denied")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.fasta", "-o", "x.pkl"], "x.pkl has no ending that is known here; .* .h5, .parquet"),
        (["x.fasta", "-o", "x"], "files can be written as .*, .npz"),
        (["x.fasta"], "--output"),
        (["-o", "x.npz"], "FASTA"),
        (["link.npz", "-o", "in.npz"], "in.npz is the input file"),
        (["x.fasta", "-o", "x.npz", "--include", "mean,sum"], "'sum' is not one of mean, per_tok"),
        (["x.fasta", "-o", "x.npz", "--pool", "sum"], "'--pool': 'sum' is not one of 'mean'"),
        (["x.fasta", "-o", "x.npz", "--layers", "-1,last"], "'last' is not a layer"),
        (["x.fasta", "-o", "x.npz", "--layers", ""], "'' is not a layer"),
        (["x.fasta", "-o", "x.npz", "--max-residues", "0"], "--max-residues"),
        (["x.fasta", "-o", "x.npz", "--batch", "3"], "--batch"),
    ],
)
def test_wrong_usage_is_status_2(embed, tmp_path, arguments, message):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    (tmp_path / "in.npz").write_bytes(FASTA)
    (tmp_path / "link.npz").symlink_to("in.npz")
    run = embed(*arguments)
    assert re.search(message, told(run)[-1])
    assert run.returncode == 2
    assert files(tmp_path) == ["in.npz", "link.npz", "x.fasta"]
    assert (tmp_path / "in.npz").read_bytes() == FASTA


def test_an_interrupt_before_any_record_is_done_leaves_nothing_behind(tmp_path):
    with Process(tmp_path, "embed", "-", "-o", "x.npz") as process:
        process.feed([b">first\nMKT\n"], tmp_path / "x.npz.part" / "journal.jsonl", 1)
        done = process.stop(signal.SIGINT)
    assert done.status == 130
    assert "Traceback" not in "\n".join(done.told)
    assert files(tmp_path) == []


# --- input of every kind --------------------------------------------------------------------------


def test_a_file_as_people_have_them_is_read_as_it_is_meant(embed, tmp_path, truth):
    name, sequence = RECORDS[0]
    text = (
        "; from a colleague\r\n"
        f">{name} | [weird] \"quoted\", 100 % <b>\ttab 'β' \\ $HOME\r\n"
        f"{sequence[:4]}\r\n\r\n  {sequence[4:]} *\r\n"
        "; in between\r\n\r\n"
        ">\r\n"
        f"{RECORDS[2][1]}*\r\n"
        ">sp|P1|X;y=../z\r\n"
        f"{RECORDS[3][1]}"
    )
    (tmp_path / "x.fasta").write_bytes(b"\xef\xbb\xbf" + text.encode())
    run = embed("x.fasta", "-o", "x.npz", "--device", "cpu", "--quiet")
    assert (run.returncode, told(run)) == (0, [])
    found = load(tmp_path / "x.npz")
    assert found["ids"].tolist() == ["b", "seq 2", "sp|P1|X;y=../z"]
    assert found["lengths"].tolist() == [10, 1, 50]
    want = [truth[i].mean[6] for i in (0, 2, 3)]
    assert_near(found["embeddings"], want, MORE)


def test_an_input_in_the_place_of_the_rejects_is_not_written_over(embed, tmp_path):
    (tmp_path / "x.npz.rejects.fasta").write_bytes(FASTA)
    run = embed("x.npz.rejects.fasta", "-o", "x.npz")
    assert run.returncode == 2
    assert files(tmp_path) == ["x.npz.rejects.fasta"]
    assert (tmp_path / "x.npz.rejects.fasta").read_bytes() == FASTA
