"""`esm2 embed` into every format, with every policy for long records, and to standard output."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas
import polars
import pytest
import safetensors.numpy

import esm2
from esm2 import files
from esm2.cli import main
from esm2.numerics import MORE
from esm2.windows import windows
from tests.cli.interrupted import ENVIRONMENT, MAIN
from tests.near import assert_near
from tests.proteins import residues
from tests.storing import names

SEQUENCES = {
    "sp|P69905|HBA_HUMAN": "MVLSPADKTNVKAAWGKVGA",
    "b/c": "".join(residues(90, seed=1)),
    "d": "M",
}
FASTA = "".join(f">{name} of a test\n{own}\n" for name, own in SEQUENCES.items()).encode()


@pytest.fixture
def embed(tmp_path, monkeypatch, capfdbinary):
    """Run the command here, in an empty directory: its status, and what it told and gave."""
    monkeypatch.chdir(tmp_path)

    def call(output, *options, fasta=FASTA):
        (tmp_path / "x.fasta").write_bytes(fasta)
        command = ["esm2", "embed", "x.fasta", "-o", output, "--device", "cpu", *options]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfdbinary.readouterr()
        return ended.value.code, err.decode().splitlines(), out

    return call


@pytest.fixture(scope="module")
def truth():
    """The same in Python: id -> mean, and rows per residue, of the last layer."""
    with esm2.load("esm2-demo", device="cpu") as model:
        outputs = model.encode(SEQUENCES.values(), include=["mean", "per_token"], layers=[-1])
        return {
            name: (own.mean[6], own.per_token[6])
            for name, own in zip(SEQUENCES, outputs, strict=True)
        }


def arrays(path):
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def means(path):
    """id -> vector, of a file of any format."""
    match path.suffix:
        case ".npz":
            found = arrays(path)
            ids, vectors = found["ids"].tolist(), found["embeddings"]
        case ".safetensors":
            found = safetensors.numpy.load_file(path)
            ids, vectors = bytes(found["ids"]).decode().split("\n"), found["embeddings"]
        case ".h5":
            with h5py.File(path) as file:
                ids = [own.attrs["original_id"] for own in file.values()]
                vectors = [own[:] for own in file.values()]
        case ".h5ad":
            with h5py.File(path) as file:
                ids, vectors = file["obs/_index"].asstr()[:].tolist(), file["X"][:]
        case ".parquet":
            frame = polars.read_parquet(path)
            ids, vectors = frame["id"], frame["embedding"].to_numpy()
        case ".csv":
            frame = pandas.read_csv(path, index_col="id").drop(columns="length")
            ids, vectors = frame.index, frame.to_numpy(np.float32)
        case _:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            ids = [own["id"] for own in lines]
            vectors = [np.float32(own["embeddings"][0]["embedding"]) for own in lines]
    return dict(zip(ids, vectors, strict=True))


# --- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output", ["x.npz", "x.h5", "x.parquet", "x.safetensors", "x.h5ad", "x.csv", "x.jsonl", "X.H5"]
)
def test_every_format_has_the_numbers_of_the_model(embed, tmp_path, truth, output):
    status, told, out = embed(output)
    assert (status, out) == (0, b"")
    (line,) = told
    assert line.startswith(f"{output}: 3 records, 111 residues in ")
    found = means((tmp_path / output).rename(tmp_path / output.lower()))
    assert found.keys() == truth.keys()
    for name, (mean, _) in truth.items():
        np.testing.assert_array_equal(found[name], mean)


def test_a_table_gives_the_bytes_that_the_fasta_of_its_rows_gives(embed, tmp_path):
    frame = polars.DataFrame({"id": SEQUENCES.keys(), "sequence": SEQUENCES.values()})
    frame.with_columns(description=polars.lit("of a test")).write_parquet(tmp_path / "table")
    assert embed("x.npz")[0] == embed("y.npz", fasta=(tmp_path / "table").read_bytes())[0] == 0
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()


def test_hdf5_holds_residues_under_the_accession(embed, tmp_path, truth):
    status, _, _ = embed("x.h5", "--include", "per_token", "--h5-key", "accession")
    assert status == 0
    with h5py.File(tmp_path / "x.h5") as file:
        assert sorted(file) == ["P69905", "b_c", "d"]
        assert file.attrs["model_name"] == "esm2_demo"
        assert file.attrs["layer"] == 6
        assert len(file.attrs["weights_sha256"]) == 64
        for own in file.values():
            np.testing.assert_array_equal(own, truth[own.attrs["original_id"]][1])


def test_names_that_were_taken_are_told(embed):
    fasta = b">sp|P1|A\nMKT\n>P1\nMKK\n"
    _, told, _ = embed("x.h5", "--h5-key", "accession", fasta=fasta)
    assert told[0].startswith("x.h5: 1 of its names")
    _, told, _ = embed("y.h5", "--h5-key", "hash", fasta=b">a\nMKT\n>b\nMKT\n")
    assert told[0].startswith("y.h5: 1 of the records")


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("x.h5", ["--layers", "0,1"], ".h5 holds one kind of one layer"),
        ("x.h5", ["--include", "mean,bos"], ".h5 holds one kind of one layer"),
        ("x.csv", ["--layers", "0,1"], ".csv holds one kind of one layer"),
        ("x.csv", ["--include", "per_token"], ".csv holds a vector a record"),
        ("x.parquet", ["--include", "per_token"], ".parquet holds a vector a record"),
        ("x.h5ad", ["--include", "per_token"], ".h5ad holds a vector a record"),
        ("x.h5", ["--include", "mean,max"], ".h5 holds one kind of one layer"),
        ("x.npz", ["--h5-key", "hash"], "only an .h5 has datasets to name"),
        ("-", ["--h5-key", "id"], "only an .h5 has datasets to name"),
        ("x.h5", ["--h5-key", "name"], "--h5-key"),
        ("x.npz", ["--long", "window", "--include", "bos"], "each window has a BOS of its own"),
        ("x.npz", ["--long", "cut"], "--long"),
    ],
)
def test_what_a_format_cannot_hold_is_wrong_usage(embed, tmp_path, output, options, message):
    # A model that does not exist would be an error of its own, were it looked for.
    status, told, out = embed(output, "--model", "none=/nowhere", *options)
    assert (status, out) == (2, b"")
    assert message in told[-1]
    assert names(tmp_path) == ["x.fasta"]


@pytest.mark.parametrize("command", ["embed", "merge", "search"])
def test_the_help_names_every_format(monkeypatch, capfd, command):
    monkeypatch.setattr(sys, "argv", ["esm2", command, "--help"])
    with pytest.raises(SystemExit):
        main()
    words = re.split(r"[\s,]+", capfd.readouterr().out)
    wanted = {suffix for suffix, of in files.FORMATS.items() if of.reads or command != "search"}
    assert {suffix for suffix in wanted if {suffix, f"{suffix}."}.isdisjoint(words)} == set()


def test_a_layer_named_twice_is_one_layer(embed, tmp_path):
    status, _, _ = embed("x.h5", "--layers=-1,6")
    assert status == 0
    status, told, _ = embed("y.h5", "--layers=-1,5")
    assert status == 2
    assert ".h5 holds one kind of one layer" in told[-1]
    assert names(tmp_path) == ["x.fasta", "x.h5"]


def test_a_link_stays_and_what_it_points_to_is_written(embed, tmp_path):
    (tmp_path / "roomy").mkdir()
    (tmp_path / "x.npz").symlink_to("roomy/y.npz")
    status, _, _ = embed("x.npz")
    assert status == 0
    assert (tmp_path / "x.npz").is_symlink()
    assert names(tmp_path / "roomy") == ["y.npz"]


@pytest.mark.parametrize(
    ("output", "blocked", "line"),
    [
        ("x.h5", "h5py", "esm2: this needs h5py: pip install 'h5py>=3.12'"),
        ("x.h5ad", "h5py", "esm2: this needs h5py: pip install 'h5py>=3.12'"),
        ("x.parquet", "pyarrow", "esm2: this needs pyarrow: pip install 'pyarrow>=18'"),
    ],
)
def test_a_format_that_needs_an_extra_says_which(tmp_path, output, blocked, line):
    done = subprocess.run(
        [
            *(sys.executable, "-c", f"import sys; sys.modules[{blocked!r}] = None; {MAIN}"),
            *("embed", "-", "-o", output),
        ],
        cwd=tmp_path,
        input=FASTA,
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.stderr.decode() == f"{line} [settings.missing_extra]\n"
    assert done.returncode == 1
    assert names(tmp_path) == []


def test_a_header_of_any_letters_can_be_kept_in_hdf5(embed, tmp_path):
    fasta = b">a\0b\x01\xff \xce\xb2\nMKT\n>./..\nMKT\n>#2\nMKT\n>.\nMKT\n"
    status, _, _ = embed("x.h5", fasta=fasta)
    assert status == 0
    with h5py.File(tmp_path / "x.h5") as file:
        assert len(file) == 4


# --- long records --------------------------------------------------------------------------------

LIMITED = ("--max-residues", "40")
LONG = SEQUENCES["b/c"]


def test_long_records_are_rejected_unless_something_else_is_asked_for(embed, tmp_path):
    status, told, _ = embed("x.npz", *LIMITED)
    assert status == 3
    assert "record b/c: the sequence has 90 residues, the limit here is 40" in told[0]
    found = arrays(tmp_path / "x.npz")
    assert found["ids"].tolist() == ["sp|P69905|HBA_HUMAN", "d"]
    assert "used" not in found
    assert "windows" not in found


def test_a_truncated_record_has_the_embedding_of_its_first_residues(embed, tmp_path):
    status, told, _ = embed("x.npz", *LIMITED, "--long", "truncate", "--include", "mean,per_token")
    assert status == 0
    assert told[0] == "x.npz: 1 record of more than 40 residues truncated to their first 40"
    found = arrays(tmp_path / "x.npz")
    assert found["lengths"].tolist() == [20, 90, 1]
    assert found["used"].tolist() == [20, 40, 1]
    assert found["windows"].tolist() == [1, 1, 1]
    assert found["offsets"].tolist() == [0, 20, 60, 61]
    meta = json.loads(str(found["meta"]))
    assert (meta["long"], meta["max_residues"]) == ("truncate", 40)
    alone = f">alone\n{LONG[:40]}\n".encode()
    embed("y.npz", "--include", "mean,per_token", fasta=alone)
    want = arrays(tmp_path / "y.npz")
    np.testing.assert_array_equal(found["embeddings"][1], want["embeddings"][0])
    np.testing.assert_array_equal(
        found["per_token_embeddings"][20:60], want["per_token_embeddings"]
    )


def test_a_record_in_windows_has_the_rows_of_each_window_alone(embed, tmp_path):
    status, told, _ = embed("x.npz", *LIMITED, "--long", "window", "--include", "mean,per_token")
    assert status == 0
    assert told[0] == "x.npz: 1 record of more than 40 residues seen in windows of 40"
    found = arrays(tmp_path / "x.npz")
    plan = windows(90, 40)
    assert found["used"].tolist() == [20, 90, 1]
    assert found["windows"].tolist() == [1, len(plan), 1]
    pieces = "".join(f">{own.start}\n{LONG[own.start : own.stop]}\n" for own in plan).encode()
    embed("y.npz", "--include", "per_token", fasta=pieces)
    alone = arrays(tmp_path / "y.npz")["per_token_embeddings"].reshape(len(plan), 40, -1)
    want = np.concatenate(
        [
            rows[own.first - own.start : own.last - own.start]
            for rows, own in zip(alone, plan, strict=True)
        ]
    )
    got = found["per_token_embeddings"][20:110]
    np.testing.assert_array_equal(got, want)
    assert_near(found["embeddings"][1], want.mean(0), MORE)
    # The mean is the same when it is all that is asked for.
    embed("z.npz", *LIMITED, "--long", "window")
    np.testing.assert_array_equal(arrays(tmp_path / "z.npz")["embeddings"], found["embeddings"])


@pytest.mark.parametrize("long", ["truncate", "window"])
def test_every_format_says_what_was_done_to_long_records(embed, tmp_path, long):
    expected = {
        "truncate": {"used": [20, 40, 1], "windows": [1, 1, 1]},
        "window": {"used": [20, 90, 1], "windows": [1, 4, 1]},
    }[long]
    for output in ("x.parquet", "x.csv", "x.jsonl", "x.safetensors", "x.h5"):
        assert embed(output, *LIMITED, "--long", long)[0] == 0
    frame = polars.read_parquet(tmp_path / "x.parquet")
    with (tmp_path / "x.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    tensors = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    for name, numbers in expected.items():
        assert frame[name].to_list() == numbers
        assert [int(own[name]) for own in table] == numbers
        assert [own[name] for own in lines] == numbers
        assert tensors[name].tolist() == numbers
    with h5py.File(tmp_path / "x.h5") as file:
        assert (file.attrs["long"], file.attrs["max_residues"]) == (long, 40)
        own = dict(file["b_c"].attrs)
        assert (own["truncated"], own["windows"]) == (long == "truncate", expected["windows"][1])
        assert own["sequence_length"] == 90
        assert not file["d"].attrs["truncated"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_windows_of_very_few_residues_are_possible(embed, tmp_path, size):
    status, _, _ = embed("x.npz", "--max-residues", str(size), "--long", "window")
    assert status == 0
    assert arrays(tmp_path / "x.npz")["used"].tolist() == [20, 90, 1]


# --- standard output -----------------------------------------------------------------------------


def test_standard_output_has_a_line_for_each_record_and_nothing_else(embed, tmp_path, truth):
    fasta = FASTA.replace(b">d ", b">bad\nMKt\n>d ")
    status, told, out = embed("-", "--include", "mean,per_token", fasta=fasta)
    assert status == 3
    (line,) = told
    assert line.startswith("x.fasta, line 5, record bad: ")
    lines = [json.loads(own) for own in out.splitlines()]
    assert [own["id"] for own in lines] == list(truth)
    assert [own["length"] for own in lines] == [20, 90, 1]
    for own, (mean, rows) in zip(lines, truth.values(), strict=True):
        assert own.keys() == {"id", "length", "embeddings", "per_token_embeddings"}
        np.testing.assert_array_equal(np.float32(own["embeddings"][0]["embedding"]), mean)
        np.testing.assert_array_equal(
            np.float32(own["per_token_embeddings"][0]["embeddings"]), rows
        )
    assert names(tmp_path) == ["x.fasta"]


@pytest.mark.parametrize("kinds", ["mean", "mean,per_token,bos"])
def test_standard_output_has_the_lines_of_a_file(embed, tmp_path, kinds):
    options = ("--include", kinds, "--layers", "0,-1", *LIMITED, "--long", "window")
    if "bos" in kinds:
        options = (*options[:-1], "truncate")
    _, _, out = embed("-", *options)
    embed("x.jsonl", *options)
    assert out == (tmp_path / "x.jsonl").read_bytes()


def test_strict_ends_standard_output_at_the_first_bad_record(embed):
    status, told, out = embed("-", "--strict", fasta=b">a\nMKT\n>bad\nMKt\n>c\nMKT\n")
    assert status == 1
    assert told[-1].startswith("esm2: x.fasta, line 3, record bad: ")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["a"]


def test_a_reader_who_leaves_ends_it_without_a_word(tmp_path):
    fasta = b"".join(b">r%d\n%s\n" % (i, b"MKTAYIAKQR" * 5) for i in range(500))
    (tmp_path / "x.fasta").write_bytes(fasta)
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "embed", "x.fasta", "-o", "-"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        first = process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
        status = process.wait()
    assert json.loads(first)["id"] == "r0"
    assert told == ""
    assert status == 1


def test_a_full_disk_behind_standard_output_is_told(tmp_path):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "embed", "-", "-o", "-"],
            cwd=tmp_path,
            input=FASTA,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env=ENVIRONMENT,
        )
    assert done.stderr.decode() == ("esm2: cannot write -: No space left on device [file.failed]\n")
    assert done.returncode == 1
