"""`esm2 search` as a person runs it, against scipy's distances of all pairs."""

from __future__ import annotations

import csv
import gzip
import io

import h5py
import numpy as np
import pytest
from scipy.spatial import distance

from tests.cli.interrupted import Done, run
from tests.storing import DIM, rows, write
from tests.storing import run as made_by
from tests.unit.test_files_stored import META

FORMATS = (".npz", ".h5", ".parquet", ".safetensors")
TARGETS = [f"t{i:02}" for i in range(40)]
QUERIES = ["q1", "t07", "q0"]


def make(path, names, meta=META, **changes):
    """A file of vectors; those of the queries are t07's and its neighbours of another line."""
    of = made_by(path.suffix, **changes)
    kept = rows(of, names)
    for own in kept:
        if own.record.id == "t30":  # as near to everything as t07
            own.outputs.mean[6][:] = kept[7].outputs.mean[6]
    write(path, of, kept, meta)
    return np.array([own.outputs.mean[6] for own in kept])


@pytest.fixture
def search(tmp_path):
    def command(*arguments: object) -> Done:
        return run(tmp_path, "search", *arguments)

    return command


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A directory with files that cannot be compared."""
    directory = tmp_path_factory.mktemp("faulty")
    make(directory / "q.npz", QUERIES)
    make(directory / "db.npz", TARGETS)
    make(directory / "layer.npz", QUERIES, META | {"layers": [5]})
    make(directory / "other.npz", QUERIES, META | {"model": "mine", "weights_sha256": "f" * 64})
    make(directory / "half.npz", QUERIES, META | {"dtype": "bfloat16"})
    make(directory / "bos.npz", QUERIES, META | {"include": ["bos"]})
    make(directory / "residues.npz", QUERIES, META | {"include": ["per_token"]})
    for name, number in (("nan.h5", np.nan), ("zero.h5", 0)):
        make(directory / name, TARGETS)
        with h5py.File(directory / name, "r+") as file:
            file["t03"][...] = number
    for name in ("x.csv", "x.fasta", "x.h5"):
        (directory / name).write_text(">a\nMKT\n")
    return directory


def table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode()), delimiter="\t"))


@pytest.mark.parametrize(
    ("metric", "column"), [("cosine", "Cosine similarity"), ("euclidean", "Embedding distance")]
)
def test_the_nearest_are_written_as_eat_writes_them(search, tmp_path, metric, column):
    queries, targets = make(tmp_path / "q.h5", sorted(QUERIES)), make(tmp_path / "db.npz", TARGETS)
    done = search("q.h5", "db.npz", "-k", "3", "--metric", metric)
    assert done.status == 0, done.told
    header, *lines = table(done.stdout)
    assert header == ["Query-ID", "Lookup-ID", column, "Nearest-Neighbor-Idx"]
    pairs = distance.cdist(queries.astype(float), targets.astype(float), metric)
    want = []
    for name, far in zip(sorted(QUERIES), pairs, strict=True):
        near = np.lexsort((np.arange(40), far.round(12)))[:3]
        want += [(name, TARGETS[i], far[i], rank) for rank, i in enumerate(near, 1)]
    assert [(q, t, int(rank)) for q, t, _, rank in lines] == [(q, t, r) for q, t, _, r in want]
    found = np.array([float(value) for *_, value, _ in lines])
    far = 1 - found if metric == "cosine" else found
    np.testing.assert_allclose(far, [far for *_, far, _ in want], rtol=0, atol=1e-7)
    assert done.told == [
        f"standard output: 3 nearest ({metric}) to each of 3 records of q.h5, among 40 of db.npz;"
        " esm2-demo, float32; a tiny model, trained for two hours: to try things, not for science"
    ]


def test_every_format_gives_the_same_table_and_a_file_may_be_searched_with_itself(search, tmp_path):
    for suffix in FORMATS:
        make(tmp_path / f"db{suffix}", TARGETS)
    tables = {search(f"db{one}", f"db{one}", "-q").stdout for one in FORMATS}
    tables |= {search("db.npz", f"db{other}", "-q").stdout for other in FORMATS}
    (content,) = tables
    lines = table(content)[1:]
    assert len(lines) == 3 * 40
    own = {query: [t for q, t, *_ in lines if q == query] for query in TARGETS}
    assert own["t30"][:2] == own["t07"][:2] == ["t07", "t30"]  # the same vector: the earlier first
    assert all(own[name][0] == name for name in TARGETS if name != "t30")

    done = search("db.npz", "db.h5", "-q", "--exclude-self", "-o", "X.TSV.GZ")
    assert (done.status, done.stdout, done.told) == (0, b"", [])
    lines = table(gzip.decompress((tmp_path / "X.TSV.GZ").read_bytes()))[1:]
    for name in TARGETS:
        without = [target for target in own[name] if target != name]
        assert [t for q, t, *_ in lines if q == name][: len(without)] == without


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["q.npz", "none.h5"], "cannot read none.h5: No such file or directory"),
        (["q.npz", "x.csv"], "cannot read x.csv: a .csv or .jsonl does not say by which model"),
        (["q.npz", "x.fasta"], "cannot read x.fasta: the files that can be read again are .h5,"),
        (["q.npz", "x.h5"], "cannot read x.h5: it is damaged, or no file that `esm2 embed` wrote"),
        (["q.npz", "db.npz", "-k", "41"], "cannot search db.npz: it has 40 records, fewer than"),
        (["q.npz", "db.npz", "-k", "9" * 12], "cannot search db.npz: it has 40 records, fewer"),
        (
            ["db.npz", "db.npz", "-k", "40", "--exclude-self"],
            "cannot search db.npz: without those of the query's own id it has fewer than the 40",
        ),
        (
            ["layer.npz", "db.npz"],
            "it was not made as db.npz was: layer is 5 here and 6 there",
        ),
        (["bos.npz", "db.npz"], "pooling is bos here and mean there"),
        (
            ["other.npz", "db.npz"],
            "the weights are mine (ffffffffffff) here and esm2-demo (0123456789ab) there",
        ),
        (["half.npz", "db.npz"], "dtype is bfloat16 here and float32 there (--any-dtype compares"),
        (["residues.npz", "db.npz"], "it has a vector for each residue (per_token)"),
        (["q.npz", "nan.h5"], "cannot search nan.h5: record t03 has a number that is not finite"),
        (["zero.h5", "db.npz"], "cannot search zero.h5: record t03 is all zeros, which has no"),
        (["q.npz", "db.npz", "-o", "no/x.tsv"], "cannot write no/x.tsv: there is no directory no"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence_and_nothing_is_written(faulty, arguments, message):
    before = sorted(path.name for path in faulty.iterdir())
    done = run(faulty, "search", *arguments, *([] if "-o" in arguments else ["-o", "x.tsv"]))
    assert (done.status, done.stdout) == (1, b"")
    assert message in done.told[-1]
    assert done.told[-1].endswith(" [file.failed]")
    assert sorted(path.name for path in faulty.iterdir()) == before


def test_other_dtypes_are_compared_when_that_is_meant_and_it_is_told(search, tmp_path):
    make(tmp_path / "db.npz", TARGETS)
    make(tmp_path / "half.npz", TARGETS, META | {"dtype": "bfloat16"})
    done = search("half.npz", "db.npz", "-q", "--any-dtype")
    assert done.status == 0
    assert done.told == ["half.npz and db.npz: dtype is bfloat16 here and float32 there"]
    assert done.stdout == search("db.npz", "db.npz", "-q").stdout


def test_vectors_of_zeros_have_distances(search, tmp_path):
    make(tmp_path / "db.h5", TARGETS)
    with h5py.File(tmp_path / "db.h5", "r+") as file:
        file["t03"][...] = np.zeros(DIM)
    done = search("db.h5", "db.h5", "-q", "-k", "1", "--metric", "euclidean")
    assert table(done.stdout)[4] == ["t03", "t03", "0", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["q.npz"], "Missing argument 'DB'"),
        (["q.npz", "db.npz", "-k", "0"], "-k"),
        (["q.npz", "db.npz", "--metric", "dot"], "--metric"),
        (["q.npz", "db.npz", "-o", "x.csv"], "x.csv has no ending that is known here; use .tsv"),
    ],
)
def test_wrong_usage_is_status_2(search, arguments, message):
    done = search(*arguments)
    assert done.status == 2
    assert message in done.told[-1]
