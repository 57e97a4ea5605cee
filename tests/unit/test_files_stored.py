"""Files of embeddings read again: the same records and bits, or one sentence about the file."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from esm2 import files
from esm2.errors import FileError
from esm2.files import shards
from tests.storing import DIM, SEVERAL, rows, run, write

FORMATS = [".npz", ".h5", ".parquet", ".safetensors", ".h5ad"]
META = {
    "esm2": "1.2.3",
    "model": "esm2-demo",
    "weights_sha256": "0123456789abcdef" * 4,
    "weights_kind": "demo",
    "dtype": "float32",
    "include": ["mean"],
    "layers": [6],
}
NAMES = ["b", "a", "a", "\u03b2|2", "c"]


def made(path, names=NAMES, meta=META, **changes):
    kept = rows(run(path.suffix, **changes), names)
    write(path, run(path.suffix, **changes), kept, meta)
    return kept


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_gives_its_records_and_their_bits_again_in_blocks(tmp_path, suffix, size):
    kept = made(tmp_path / f"x{suffix}")
    stored = files.read(tmp_path / f"x{suffix}")
    assert (stored.model, stored.layer, stored.pooling) == ("esm2-demo", 6, "mean")
    assert (stored.dtype, stored.dim, stored.weights_kind) == ("float32", DIM, "demo")
    assert stored.weights_sha256 == META["weights_sha256"]
    blocks = list(stored.blocks(size))
    assert [len(ids) for ids, _ in blocks] == [min(size, 5 - n) for n in range(0, 5, size)]
    order = sorted(range(5), key=lambda i: NAMES[i]) if suffix == ".h5" else range(5)
    assert [name for ids, _ in blocks for name in ids] == [NAMES[i] for i in order]
    numbers = np.concatenate([vectors for _, vectors in blocks])
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, [kept[i].outputs.mean[6] for i in order])


def test_bos_is_read_as_the_mean_is(tmp_path):
    for suffix in FORMATS:
        path = tmp_path / f"x{suffix}"
        kept = made(path, meta=META | {"include": ["bos"]}, include=("bos",))
        stored = files.read(path)
        assert stored.pooling == "bos"
        ((ids, vectors),) = stored.blocks(9)
        want = {own.record.id: own.outputs.bos[6] for own in kept if own.record.id != "a"}
        found = dict(zip(ids, vectors, strict=True))
        assert all(np.array_equal(found[name], vector) for name, vector in want.items())


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_says_of_which_residues_its_vectors_are(tmp_path, suffix):
    for name, region in (("whole", {}), ("part", {"region": "1-2"})):
        made(tmp_path / f"{name}{suffix}", meta=META | region, **region)
    whole, part = (files.read(tmp_path / f"{name}{suffix}") for name in ("whole", "part"))
    assert (whole.region, part.region) == ("", "1-2")
    assert part.differences(whole) == ["region is 1-2 here and none there"]


def test_records_that_share_a_dataset_are_all_there(tmp_path):
    kept = rows(run(".h5", keys="hash"), ["one", "two"])
    same = [kept[0], *rows(run(".h5", keys="hash"), ["other"]), kept[1]]
    write(tmp_path / "x.h5", run(".h5", keys="hash"), same, META)
    ((ids, vectors),) = files.read(tmp_path / "x.h5").blocks(9)
    assert sorted(ids) == ["one", "other", "two"]
    np.testing.assert_array_equal(vectors[ids.index("one")], vectors[ids.index("other")])


def test_ids_that_are_too_long_for_an_array_are_read(tmp_path):
    names = ["x" * 300, "y"]
    made(tmp_path / "x.npz", names)
    assert [ids for ids, _ in files.read(tmp_path / "x.npz").blocks(1)] == [names[:1], names[1:]]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_several_vectors_a_record_are_refused_by_their_names(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    made(path, meta=META | {"layers": [0, 6]}, layers=(0, 6))
    with pytest.raises(FileError, match="it has mean of layer 0, mean of layer 6, and one vector"):
        files.read(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])
def test_a_vector_for_each_residue_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    made(path, meta=META | {"include": ["per_token"]}, include=("per_token",))
    with pytest.raises(FileError, match="it has a vector for each residue"):
        files.read(path)
    if suffix != ".h5":
        made(path, meta=META | {"include": SEVERAL["include"]}, include=SEVERAL["include"])
        with pytest.raises(FileError, match="it has a vector for each residue"):
            files.read(path)


def test_a_part_of_a_run_is_refused(tmp_path):
    made(tmp_path / "x.npz", meta=META | {"shard": "2/3"})
    with pytest.raises(FileError, match="it is part 2/3 of a run; `esm2 merge` makes one file"):
        files.read(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_was_cut_anywhere_is_told_and_gives_no_wrong_number(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    made(path)
    whole = path.read_bytes()
    for end in {*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1}:
        path.write_bytes(whole[:end])
        with pytest.raises(FileError, match=r"x\.\w+: it is damaged, or no file that `esm2 embed`"):
            list(files.read(path).blocks(2))


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".safetensors"])  # HDF5 may not come back
def test_a_file_that_was_changed_anywhere_is_told_or_read(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    made(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 300)):
        for letter in b"\0\xff":
            path.write_bytes(whole[:place] + bytes([letter]) + whole[place + 1 :])
            with contextlib.suppress(FileError):
                list(files.read(path).blocks(2))


def test_a_part_that_was_changed_anywhere_is_told_or_read(tmp_path):
    path, of = tmp_path / "x.npz", run(shard=(1, 1))
    write(path, of, rows(of, ["a", "b"]), META | {"input_records": 2})
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 300):
        for letter in b"\0\xff":
            path.write_bytes(whole[:place] + bytes([letter]) + whole[place + 1 :])
            with contextlib.suppress(FileError), shards.Part(path) as part:
                list(shards.merged([part]))


def test_what_is_no_file_of_embeddings_is_told(tmp_path):
    for suffix in FORMATS:
        (tmp_path / f"x{suffix}").write_text(">a\nMKT\n" * 9)
        with pytest.raises(FileError, match="it is damaged, or no file"):
            files.read(tmp_path / f"x{suffix}")
        with pytest.raises(FileError, match=f"y{suffix}: No such file or directory"):
            files.read(tmp_path / f"y{suffix}")
    np.savez(tmp_path / "z.npz", embeddings=np.zeros((2, 3)), meta=np.array("{}"))
    with pytest.raises(FileError, match="it is damaged, or no file"):
        files.read(tmp_path / "z.npz")
    for name in ("x.csv", "x.jsonl"):
        with pytest.raises(FileError, match="does not say by which model it was made; the files"):
            files.read(tmp_path / name)
    with pytest.raises(
        FileError, match=r"the files that can be read again are \.h5, \.parquet, \.npz"
    ):
        files.read(tmp_path / "x.fasta")
