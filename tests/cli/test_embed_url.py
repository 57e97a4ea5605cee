"""`esm2 embed --url`: the same command, computed by a server, on a machine without torch."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.cli import warm
from tests.cli.interrupted import Process
from tests.near import assert_same
from tests.wire.server import environment, serving

#: As on a base install: what only the extras bring cannot be imported.
WITHOUT_EXTRAS = (
    "import sys\n"
    "extras = 'torch safetensors fastapi uvicorn huggingface_hub h5py pyarrow'\n"
    "for name in extras.split():\n"
    "    sys.modules[name] = None\n"
)
MAIN = "from esm2.cli import main; main()"
RECORDS = [("b", "MKTAYIAKQR"), ("a", "GGXA"), ("c", "M"), ("a", "ACDEFGHIKL" * 5)]
FASTA = "".join(f">{name} of a test\n{sequence}\n" for name, sequence in RECORDS).encode()
TOKEN = "command-line-secret"


@pytest.fixture(scope="module")
def server():
    with serving("--max-residues=100", tokens=TOKEN) as own:
        yield own


@pytest.fixture
def run(tmp_path):
    """Run the command in an empty directory, with a token or without."""

    def embed(*arguments, stdin=b"", token=TOKEN, here=False):
        return subprocess.run(
            [sys.executable, "-c", MAIN if here else WITHOUT_EXTRAS + MAIN, "embed", *arguments],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            check=False,
            env=environment(BIOLMAI_TOKEN=token, OMP_NUM_THREADS="2"),
        )

    return embed


def told(done):
    return done.stderr.decode().splitlines()


def load(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_without_torch_the_file_is_the_one_that_is_made_here(server, run, tmp_path):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    kinds = ("--include", "mean,per-token,bos", "--layers", "0,-1", "--model", "esm2-demo")
    there = run("x.fasta", "-o", "there.npz", *kinds, "--url", server.url)
    assert there.returncode == 0, there.stderr
    assert there.stdout == b""
    here = run("x.fasta", "-o", "here.npz", *kinds, "--device", "cpu", here=True)
    assert here.returncode == 0, here.stderr
    got, want = load(tmp_path / "there.npz"), load(tmp_path / "here.npz")
    assert list(got) == list(want)
    assert json.loads(str(got["meta"])) == json.loads(str(want["meta"]))
    for name in ("ids", "lengths", "layers", "offsets"):
        np.testing.assert_array_equal(got[name], want[name])
    for name in ("embeddings", "per_token_embeddings", "bos_embeddings"):
        assert_same(got[name], want[name])
    assert re.search(
        r"4 records, 65 residues .* esm2-demo on cpu, float32; a tiny model", told(there)[-1]
    )


def test_regions_are_pooled_of_what_the_server_sends(server, tmp_path):
    (tmp_path / "x.fasta").write_bytes(FASTA.replace(b">c of a test\nM\n", b""))
    pooled = ("x.fasta", "--pool", "max", "--region", "2-4", "--model", "esm2-demo")
    variables = environment(BIOLMAI_TOKEN=TOKEN, OMP_NUM_THREADS="2")
    for place in (["-o", "there.npz", "--url", server.url], ["-o", "here.npz", "--device", "cpu"]):
        done = warm.run(tmp_path, "embed", *pooled, *place, environment=variables)
        assert done.returncode == 0, done.stderr
    got, want = load(tmp_path / "there.npz"), load(tmp_path / "here.npz")
    assert_same(got["max_embeddings"], want["max_embeddings"])
    assert got["regions"].tolist() == want["regions"].tolist() == ["2-4"] * 3


def test_many_records_come_in_their_order(server, run, tmp_path):
    lengths = [1 + number * 37 % 100 for number in range(200)]
    fasta = "".join(f">r{n}\n{'MKTAYIAKQR' * 10:.{n}}\n" for n in lengths).encode()
    done = run("-", "-o", "x.npz", "--url", server.url, "--quiet", stdin=fasta)
    assert done.returncode == 0, done.stderr
    found = load(tmp_path / "x.npz")
    assert found["ids"].tolist() == [f"r{n}" for n in lengths]
    assert found["lengths"].tolist() == lengths


def test_records_that_the_server_refuses_are_told_and_left_out(server, run, tmp_path):
    fasta = f">good\nMKT\n>lower\nMKt\n>mask\nM<mask>\n>long\n{'M' * 101}\n>fine\nGG\n".encode()
    done = run("-", "-o", "x.npz", "--url", server.url, stdin=fasta)
    assert done.returncode == 3
    lower, mask, long, last = told(done)
    assert lower.startswith("-, line 3, record lower: residue 3 is 't', ")
    assert mask.startswith("-, line 5, record mask: residue 2 is <mask>, ")
    assert long.startswith("-, line 7, record long: the sequence has 101 residues, the limit")
    assert last.endswith("; 3 records left out, see x.npz.rejects.fasta")
    assert load(tmp_path / "x.npz")["ids"].tolist() == ["good", "fine"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "esm2-650m"], r"esm2-650m is not served here .* \[model\.not_served\]"),
        (["--model", "esm2-demi"], r"no model is called 'esm2-demi'.* \[model\.unknown\]"),
        (["--layers", "7"], r"layer 7 does not exist.* \[request\.layer_out_of_range\]"),
        (["--url", "localhost:1"], r"'localhost:1' is no address.* \[settings\.invalid\]"),
        (["--url", "http://127.0.0.1:9"], r"no answer from .* \[server\.unreachable\]"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1(
    server, run, tmp_path, arguments, message
):
    done = run("-", "-o", "x.npz", "--url", server.url, *arguments, stdin=FASTA)
    (line,) = told(done)
    assert re.fullmatch(f"esm2: {message}", line)
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", ["", "wrong-secret", "a b"])
def test_without_a_good_token_the_variable_is_named_and_the_token_is_not(
    server, run, tmp_path, token
):
    done = run("-", "-o", "x.npz", "--url", server.url, stdin=FASTA, token=token)
    (line,) = told(done)
    assert re.search(r"ESM2_TOKEN|the token .* has white space", line)
    assert not token or token not in line
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cpu"], "--device: with --url, the server decides"),
        (["--dtype", "float32"], "--dtype: with --url, the server decides"),
        (["--model", "mine=/a/path"], "--model: with --url, give the SLUG alone"),
    ],
)
def test_what_only_means_something_here_is_wrong_usage(server, run, arguments, message):
    done = run("-", "-o", "x.npz", "--url", server.url, *arguments, stdin=FASTA)
    assert message in told(done)[-1]
    assert done.returncode == 2


def test_an_interrupted_run_goes_on_with_the_server(server, run, tmp_path):
    records = [b">first\nMKT\n", b">bad\nMKt\n"] + [b">r%d\nMKTAYI\n" % i for i in range(400)]
    command = ("-", "-o", "x.npz", "--url", server.url)
    with Process(tmp_path, "embed", *command, BIOLMAI_TOKEN=TOKEN) as process:
        process.feed(records, tmp_path / "x.npz.part" / "journal.jsonl", 2)
        stopped = process.stop(signal.SIGINT)
    assert stopped.status == 130
    assert "record bad" in stopped.told[0]
    assert re.search(r"\d+ records? .* kept in x\.npz\.part", stopped.told[-2])
    assert stopped.told[-1] == "esm2: interrupted"

    done = run(*command, stdin=b"".join(records))
    assert done.returncode == 3  # for the bad one
    assert re.match(r"going on after \d+ records done before, 1 reject$", told(done)[0])
    resumed = (tmp_path / "x.npz").read_bytes()
    run(*command, stdin=b"".join(records))
    assert (tmp_path / "x.npz").read_bytes() == resumed
