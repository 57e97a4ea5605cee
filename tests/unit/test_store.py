"""OUT.npz: what is in it, that it is whole or absent, and what writing it costs."""

import json
import os
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2 import store
from esm2.errors import FileError
from esm2.types import Outputs

DIM = 4
META = {"model": "esm2-demo", "layers": [6]}


def outputs(residues, layers=(6,), kinds=("mean",), seed=0):
    """Random outputs of one record of some length."""
    noise = np.random.default_rng(seed)
    shape = {"mean": (DIM,), "bos": (DIM,), "per_token": (residues, DIM)}
    return Outputs(
        **{
            kind: {layer: noise.random(shape[kind], np.float32) for layer in layers}
            for kind in kinds
        }
    )


def written(path, rows, meta=META):
    """What numpy finds in a file of these rows: (id, residues, outputs)."""
    with store.Writer(path) as out:
        for row in rows:
            out.add(*row)
        out.commit(meta)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.npz"


def test_one_layer_gives_a_row_a_record(path):
    rows = [("a", 3, outputs(3, seed=1)), ("b", 5, outputs(5, seed=2))]
    found = written(path, rows)

    assert list(found) == ["ids", "lengths", "layers", "embeddings", "meta"]
    assert found["ids"].tolist() == ["a", "b"]
    assert found["lengths"].tolist() == [3, 5]
    assert found["layers"].tolist() == [6]
    assert found["lengths"].dtype == found["layers"].dtype == np.int64
    assert found["embeddings"].dtype == np.float32
    np.testing.assert_array_equal(found["embeddings"], [row[2].mean[6] for row in rows])


def test_several_layers_are_a_dimension_in_ascending_order(path):
    kinds = ("mean", "per_token", "bos")
    rows = [(f"r{n}", n, outputs(n, (6, 0, 2), kinds, seed=n)) for n in (3, 1, 4)]
    found = written(path, rows)

    assert found["layers"].tolist() == [0, 2, 6]
    assert found["embeddings"].shape == found["bos_embeddings"].shape == (3, 3, DIM)
    assert found["per_token_embeddings"].shape == (8, 3, DIM)
    assert found["offsets"].tolist() == [0, 3, 4, 8]
    assert found["offsets"].dtype == np.int64
    for i, (_, _, made) in enumerate(rows):
        begin, end = found["offsets"][i : i + 2]
        for k, layer in enumerate([0, 2, 6]):
            np.testing.assert_array_equal(found["embeddings"][i, k], made.mean[layer])
            np.testing.assert_array_equal(found["bos_embeddings"][i, k], made.bos[layer])
            np.testing.assert_array_equal(
                found["per_token_embeddings"][begin:end, k], made.per_token[layer]
            )


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("mean", {"embeddings"}),
        ("bos", {"bos_embeddings"}),
        ("per_token", {"per_token_embeddings", "offsets"}),
    ],
)
def test_only_what_was_asked_for_is_there(path, kind, names):
    found = written(path, [("a", 3, outputs(3, kinds=(kind,)))])
    assert set(found) == {"ids", "lengths", "layers", "meta"} | names


def test_per_token_rows_of_one_layer_have_two_dimensions(path):
    rows = [("a", 3, outputs(3, kinds=("per_token",))), ("b", 1, outputs(1, kinds=("per_token",)))]
    found = written(path, rows)
    assert found["per_token_embeddings"].shape == (4, DIM)
    np.testing.assert_array_equal(found["per_token_embeddings"][3], rows[1][2].per_token[6][0])


def test_meta_is_json_in_an_array_of_no_dimensions(path):
    found = written(path, [("a", 3, outputs(3))], {"source": "β.fasta", "layers": [6]})
    assert found["meta"].shape == ()
    assert json.loads(str(found["meta"])) == {"source": "β.fasta", "layers": [6]}


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    ids=st.lists(
        # numpy drops the NULs that end a text
        st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), max_size=12),
        min_size=1,
        max_size=9,
    )
)
def test_ids_and_their_order_survive(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("store") / "out.npz"
    rows = [(name, i + 1, outputs(i + 1, seed=i)) for i, name in enumerate(ids)]
    found = written(path, rows)
    assert found["ids"].tolist() == ids
    assert found["lengths"].tolist() == list(range(1, len(ids) + 1))
    np.testing.assert_array_equal(found["embeddings"], [row[2].mean[6] for row in rows])


def test_repeated_ids_are_kept_and_can_be_told(path):
    names = ["b", "a", "c", "a", "b", "a", "d"]
    with store.Writer(path) as out:
        for i, name in enumerate(names):
            out.add(name, 3, outputs(3, seed=i))
        assert out.duplicates() == {"b": 2, "a": 3}
        assert list(out.duplicates()) == ["b", "a"]
        out.commit(META)
    with np.load(path) as found:
        assert found["ids"].tolist() == names
        assert len(np.unique(found["embeddings"], axis=0)) == len(names)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("x.npz", "y.npz"):
        written(tmp_path / name, [("a", 3, outputs(3))])
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()


def test_the_archive_is_stored_uncompressed_and_sound(path):
    written(path, [("a", 3, outputs(3))])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


# --- whole or absent -----------------------------------------------------------------------------


def test_the_file_appears_only_when_it_is_complete_and_nothing_else_stays(path):
    with store.Writer(path) as out:
        out.add("a", 3, outputs(3))
        assert not path.exists()
        out.commit(META)
        assert path.exists()
    assert [entry.name for entry in path.parent.iterdir()] == ["out.npz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_an_interrupt_leaves_nothing(path, error):
    def interrupted():
        with store.Writer(path) as out:
            out.add("a", 3, outputs(3))
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(path.parent.iterdir()) == []


def test_what_is_not_committed_does_not_exist(path):
    with store.Writer(path) as out:
        out.add("a", 3, outputs(3))
    assert list(path.parent.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_complete(path):
    path.write_bytes(b"older")
    with store.Writer(path) as out:
        out.add("a", 3, outputs(3))
    assert path.read_bytes() == b"older"
    assert written(path, [("a", 3, outputs(3))])["ids"].tolist() == ["a"]


def test_rows_of_another_shape_are_our_own_bug(path):
    with store.Writer(path) as out:
        out.add("a", 3, outputs(3))
        with pytest.raises(AssertionError):
            out.add("b", 3, Outputs(mean={6: np.zeros(DIM + 1, np.float32)}))


# --- refusals of the operating system ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/out.npz", "there is no directory .*missing; make it first"),
        ("directory.npz", "it is a directory; name a file"),
        ("file/out.npz", "there is no directory"),
        ("x" * 300 + ".npz", "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_row(tmp_path, name, reason):
    (tmp_path / "directory.npz").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match=reason), store.Writer(tmp_path / name):
        pytest.fail("it was opened")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["directory.npz", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_refused_before_any_row(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="Permission denied"), store.Writer(tmp_path / "out.npz"):
        pytest.fail("it was opened")


# A limit on the size of files is what a test can have in place of a full disk.
FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from esm2 import store
from esm2.errors import FileError
from esm2.types import Outputs
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with store.Writer(Path(sys.argv[1])) as out:
        for i in range(300):
            out.add(str(i), 1, Outputs(mean={0: np.zeros(256, np.float32)}))
        out.commit({})
except FileError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [100_000, 308_000], ids=["while adding", "while joining"])
def test_a_full_disk_is_told_in_one_sentence_and_leaves_nothing(path, limit):
    run = subprocess.run(
        [sys.executable, "-c", FULL, path, str(limit)], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"cannot write {path}: File too large; nothing was written\n"
    assert list(path.parent.iterdir()) == []


def test_memory_does_not_grow_with_the_records(path):
    rows = Outputs(mean={6: np.ones(256, np.float32)}, per_token={6: np.ones((5, 256), np.float32)})
    tracemalloc.start()
    try:
        with store.Writer(path) as out:
            for i in range(20_000):
                out.add(f"record-{i}", 5, rows)
            assert out.duplicates() == {}
            out.commit(META)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 120_000_000
    assert peak < 6_000_000
