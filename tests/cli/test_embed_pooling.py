"""`esm2 embed --pool` and `--region`: what is made of the residues, and of which of them."""

import json
import sys

import numpy as np
import pytest

import esm2
from esm2.cli import main
from esm2.pooling import pool
from tests.proteins import residues
from tests.storing import names

LENGTHS = {"a": 30, "b": 9, "c": 12}
SEQUENCES = {name: "".join(residues(length, seed=length)) for name, length in LENGTHS.items()}
FASTA = "".join(f">{name}\n{own}\n" for name, own in SEQUENCES.items())


@pytest.fixture
def embed(tmp_path, monkeypatch, capfd):
    """Run the command here, in an empty directory: its status, and what it told and gave."""
    monkeypatch.chdir(tmp_path)

    def call(*options, table=None, fasta=FASTA, command="embed"):
        (tmp_path / "x.fasta").write_text(fasta)
        if table is not None:
            (tmp_path / "r.tsv").write_text(table)
        words = ["x.fasta", "--device", "cpu"] if command == "embed" else []
        monkeypatch.setattr(sys, "argv", ["esm2", command, *words, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return ended.value.code, err.splitlines(), out

    return call


@pytest.fixture(scope="module")
def truth():
    """id -> layer -> rows of all residues, of the whole protein."""
    with esm2.load("esm2-demo", device="cpu") as model:
        outputs = model.encode(SEQUENCES.values(), include=["per_token"], layers=[0, -1])
        return {name: dict(own.per_token) for name, own in zip(SEQUENCES, outputs, strict=True)}


def load(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("kind", ["max", "min"])
def test_the_residues_are_pooled_at_each_layer(embed, tmp_path, truth, kind):
    status, _, _ = embed("-o", "x.npz", "--pool", kind, "--layers", "0,-1")
    assert status == 0
    found = load(tmp_path / "x.npz")
    assert set(found) == {"ids", "lengths", "layers", f"{kind}_embeddings", "meta"}
    want = [[pool(own[0], kind), pool(own[6], kind)] for own in truth.values()]
    np.testing.assert_array_equal(found[f"{kind}_embeddings"], want)
    assert json.loads(str(found["meta"]))["pooling"] == kind


@pytest.mark.parametrize(
    ("word", "kind"), [("mean", "mean"), ("bos", "bos"), ("none", "per_token")]
)
def test_the_words_of_pool_are_kinds_of_output(embed, tmp_path, word, kind):
    assert embed("-o", "x.npz", "--pool", word)[0] == 0
    assert embed("-o", "y.npz", "--include", kind)[0] == 0
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()


def test_windows_are_pooled_together(embed, tmp_path):
    window = ("--long", "window", "--max-residues", "11", "--include", "max,mean,per_token")
    assert embed("-o", "x.npz", *window)[0] == 0
    found = load(tmp_path / "x.npz")
    for i, (start, stop) in enumerate(zip(found["offsets"], found["offsets"][1:], strict=False)):
        rows = found["per_token_embeddings"][start:stop]
        np.testing.assert_array_equal(found["max_embeddings"][i], rows.max(axis=0))
    assert found["windows"].tolist() == [5, 1, 2]
    assert embed("-o", "y.npz", *window[:-2], "--pool", "mean", "--region", "2-9")[0] == 0
    for i, start in enumerate(found["offsets"][:3]):
        rows = found["per_token_embeddings"][start + 1 : start + 9]
        np.testing.assert_array_equal(load(tmp_path / "y.npz")["embeddings"][i], pool(rows, "mean"))


def test_a_region_is_pooled_of_rows_that_the_whole_protein_has(embed, tmp_path, truth):
    status, told, _ = embed("-o", "x.npz", "--include", "mean,max,per_token", "--region", "2-4,8-9")
    assert status == 0
    assert told[-1].startswith("x.npz: 3 records, 15 pooled residues in ")
    found = load(tmp_path / "x.npz")
    rows = [np.concatenate([own[6][1:4], own[6][7:9]]) for own in truth.values()]
    np.testing.assert_array_equal(found["per_token_embeddings"], np.concatenate(rows))
    np.testing.assert_array_equal(found["embeddings"], [pool(own, "mean") for own in rows])
    np.testing.assert_array_equal(found["max_embeddings"], [own.max(axis=0) for own in rows])
    assert found["offsets"].tolist() == [0, 5, 10, 15]
    assert found["lengths"].tolist() == [30, 9, 12]
    assert found["used"].tolist() == [5] * 3
    assert found["regions"].tolist() == ["2-4,8-9"] * 3
    meta = json.loads(str(found["meta"]))
    assert (meta["pooling"], meta["region"]) == ("mean,none,max", "2-4,8-9")


def test_a_table_has_each_records_own_and_what_does_not_fit_is_told(embed, tmp_path, truth):
    table = "id\tstart\tend\nzz\t1\t3\na\t2\t4\nb\t1\t10\na\t27\t30\n"
    status, told, _ = embed("-o", "x.npz", "--region", "r.tsv", table=table)
    assert status == 3
    b, c, zz, last = told
    assert b == (
        "x.fasta, line 3, record b: its region, 1-10, goes beyond residue 9, the last that is"
        " embedded"
    )
    assert c == "x.fasta, line 5, record c: there is no region for it in r.tsv"
    assert zz == "r.tsv, line 2: no record has the id 'zz'"
    assert "2 records left out" in last
    found = load(tmp_path / "x.npz")
    assert found["ids"].tolist() == ["a"]
    assert found["regions"].tolist() == ["2-4,27-30"]
    rows = np.concatenate([truth["a"][6][1:4], truth["a"][6][26:30]])
    np.testing.assert_array_equal(found["embeddings"][0], pool(rows, "mean"))
    rejects = (tmp_path / "x.npz.rejects.fasta").read_text()
    assert f">b [line 3: {b.partition(': ')[2]}]\n" in rejects


def test_an_id_of_the_table_that_no_record_has_is_exit_status_3(embed):
    table = "".join(f"{name}\t1\t2\n" for name in [*"abc", *(f"z{i}" for i in range(22))])
    status, told, out = embed("-o", "-", "--region", "r.tsv", "--pool", "max", table=table)
    assert status == 3
    assert told[0] == "r.tsv, line 4: no record has the id 'z0'"
    assert told[20:] == ["2 more ids of the regions that no record has"]
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(own["id"], own["used"], own["region"]) for own in lines] == [
        (name, 2, "1-2") for name in "abc"
    ]


def test_a_region_behind_what_truncation_left_is_refused(embed):
    cut = ("--long", "truncate", "--max-residues", "10")
    status, told, _ = embed("-o", "x.npz", *cut, "--region", "9-11")
    assert status == 1
    assert told[0].endswith("its region, 9-11, goes beyond residue 10, the last that is embedded")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--pool", "max", "--include", "mean"], 2, "--include says what to write, and --pool too"),
        (["--pool", "median"], 2, "--pool"),
        (["--pool", "bos", "--region", "1-2"], 2, "the BOS token is in no region"),
        (["--region", "2-1"], 2, "'2-1' is no region: it ends before it begins"),
        (["--region", "none.tsv"], 1, "cannot read none.tsv: No such file or directory"),
        (["--region", "r.tsv"], 1, "r.tsv, line 2: 0 to 3 is no region"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_computed(
    embed, tmp_path, options, status, message
):
    # A model that does not exist would be an error of its own, were it looked for.
    model = ("--model", "none=/nowhere")
    done, told, _ = embed("-o", "x.npz", *model, *options, table="a\t1\t3\nb\t0\t3\n")
    assert done == status
    assert message in told[-1]
    assert names(tmp_path) == ["r.tsv", "x.fasta"]


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        (["--pool", "max"], ["--pool", "min"], "include was max and is min"),
        ([], ["--region", "1-2"], "region was none and is 1-2"),
        (["--region", "1-2"], ["--region", "1-3"], "region was 1-2 and is 1-3"),
        (["--region", "r.tsv"], ["--region", "r.tsv"], "region was sha256:"),
    ],
)
def test_another_pooling_does_not_go_on_with_a_run(embed, tmp_path, first, second, difference):
    bad = FASTA + ">bad\nMKt\n"
    table = "".join(f"{name}\t1\t2\n" for name in "abc")
    status, told, _ = embed("-o", "x.npz", "--strict", *first, table=table, fasta=bad)
    assert status == 1
    assert told[0].startswith("3 records are kept in x.npz.part")
    status, told, _ = embed("-o", "x.npz", *second, table=table + "d\t1\t2\n", fasta=bad)
    assert status == 1
    assert f"cannot go on with x.npz.part: {difference}" in told[-1]


def test_parts_of_a_run_of_regions_become_one_file_and_know_all_ids(embed, tmp_path):
    table = "a\t1\t2\nb\t2\t3\nc\t3\t9\n"
    asked = ("--region", "r.tsv", "--pool", "max")
    for number in (1, 2):
        status, _, _ = embed("-o", "p.npz", *asked, "--shard", f"{number}/2", table=table)
        assert status == 0
    assert embed("-o", "x.parquet", *asked)[0] == 0
    parts = [str(tmp_path / f"p.{number}-of-2.npz") for number in (1, 2)]
    assert embed(*parts, "-o", "y.parquet", command="merge")[0] == 0
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()
