"""OUT.h5: its layout, the names of its datasets, and those of the field who read it."""

from hashlib import sha256
from typing import get_args

import h5py
import numpy as np
import pytest

from esm2.cli.options import H5Key
from tests.storing import DIM, META, protein, row, rows, run, write

H5 = run(".h5")


@pytest.fixture
def made(tmp_path):
    """Rows -> the file of them, open."""
    opened = []

    def make(of, rows_of_it):
        write(tmp_path / "out.h5", of, rows_of_it)
        opened.append(h5py.File(tmp_path / "out.h5"))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


def same(name, line=1, residues=3):
    """A record of a sequence that is the same on every line."""
    own = row(H5, name, residues, line)
    record = type(own.record)(name, name, protein(residues), line)
    return row(H5, name, residues, line, record=record)


def test_a_vector_of_each_record_lies_flat_with_its_attributes(made):
    of = [row(H5, "sp|P69905|HBA_HUMAN", 3), row(H5, "β/x", 5, 3)]
    file = made(H5, of)
    assert set(file) == {"sp|P69905|HBA_HUMAN", "β_x"}
    for own, key in zip(of, ["sp|P69905|HBA_HUMAN", "β_x"], strict=True):
        dataset = file[key]
        assert dataset.shape == (DIM,)
        assert dataset.dtype == np.float32
        np.testing.assert_array_equal(dataset, own.outputs.mean[6])
        assert dict(dataset.attrs) == {
            "original_id": own.record.id,
            "sequence_length": own.used,
            "description": own.record.header,
        }
    assert dict(file.attrs) == {
        "model_name": "esm2_demo",
        "model_id": "esm2-demo",
        "weights_sha256": H5.weights_sha256,
        "weights_kind": "demo",
        "layer": 6,
        "pooling": "mean",
        "dtype": "float32",
        "long": "error",
        "max_residues": 2048,
        "format_version": 1,
        "created_by": f"esm2 {META['esm2']}",
    }


def test_residues_are_rows_of_a_dataset(made):
    of = run(".h5", include=("per_token",))
    all_rows = rows(of, ["a", "b", "c"])
    file = made(of, all_rows)
    assert file.attrs["pooling"] == "none"
    for own in all_rows:
        dataset = file[own.record.id]
        assert dataset.compression == "gzip"
        assert dataset.dtype == np.float32
        np.testing.assert_array_equal(dataset, own.outputs.per_token[6])


def test_a_header_of_one_word_has_no_description(made):
    assert "description" not in made(H5, [same("a")])["a"].attrs


def test_the_start_token_is_called_bos(made):
    of = run(".h5", include=("bos",))
    (own,) = rows(of, ["a"])
    file = made(of, [own])
    assert file.attrs["pooling"] == "bos"
    np.testing.assert_array_equal(file["a"], own.outputs.bos[6])


def test_what_was_done_to_a_long_record_is_beside_it(made):
    of = run(".h5", long="truncate", max_residues=4)
    file = made(of, [row(of, "a", 3), row(of, "b", 9, used=4), row(of, "c", 9, windows=4)])
    found = {
        name: (bool(own.attrs["truncated"]), int(own.attrs["windows"]))
        for name, own in file.items()
    }
    assert found == {"a": (False, 1), "b": (True, 1), "c": (False, 4)}
    assert file["b"].attrs["sequence_length"] == 9


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "record_id", "key"),
    [
        ("id", "a/b/c", "a_b_c"),
        ("id", ".", "_"),
        ("id", "..", ".."),
        ("id", "./x", "._x"),
        ("id", "sp|P1|X", "sp|P1|X"),
        ("id", "ünï", "ünï"),
        ("accession", "sp|P69905|HBA_HUMAN", "P69905"),
        ("accession", "gnl|db/x|y", "db_x"),
        ("accession", "sp||HBA", "sp||HBA"),
        ("accession", "P69905.2", "P69905.2"),
    ],
)
def test_what_names_a_dataset(made, keys, record_id, key):
    file = made(run(".h5", keys=keys), [same(record_id)])
    assert list(file) == [key]
    assert file[key].attrs["original_id"] == record_id


def test_a_dataset_may_be_named_for_its_sequence(made):
    file = made(run(".h5", keys="hash"), [same("a")])
    assert list(file) == [sha256(protein(3).encode()).hexdigest()]


def test_a_name_that_is_taken_gets_a_number_and_that_is_told(tmp_path):
    ids = ["a/b", "a_b", "a#2", "a", "a", "a"]
    of = [row(H5, name, 3, i) for i, name in enumerate(ids)]
    notes = write(tmp_path / "out.h5", H5, of)
    assert notes == [
        "3 of its names were taken by an earlier record, and have #2, #3, ... behind them;"
        " original_id has the id"
    ]
    with h5py.File(tmp_path / "out.h5") as file:
        for key, own in zip(["a_b", "a_b#2", "a#2", "a", "a#3", "a#4"], of, strict=True):
            assert file[key].attrs["original_id"] == own.record.id
            np.testing.assert_array_equal(file[key], own.outputs.mean[6])
        assert len(file) == len(of)


@pytest.mark.parametrize("keys", ["hash", "biotrainer"])
def test_records_of_one_sequence_share_a_dataset_and_that_is_told(tmp_path, keys):
    of = [same("a"), row(H5, "other", 4, 2), same("b", 3), same("a", 4)]
    notes = write(tmp_path / "out.h5", run(".h5", keys=keys), of)
    assert notes == [
        "2 of the records have a sequence that is there already, and share its dataset;"
        " other_ids has their ids"
    ]
    with h5py.File(tmp_path / "out.h5") as file:
        found = {
            own.attrs["original_id"]: list(own.attrs.get("other_ids", [])) for own in file.values()
        }
    assert found == {"a": ["b", "a"], "other": []}


def test_a_sequence_of_thousands_of_records_does_not_fill_the_disk(tmp_path):
    of = [same(f"record-{i}", i) for i in range(1_000)]
    write(tmp_path / "out.h5", run(".h5", keys="hash"), of)
    with h5py.File(tmp_path / "out.h5") as file:
        (dataset,) = file.values()
        assert list(dataset.attrs["other_ids"]) == [f"record-{i}" for i in range(1, 1_000)]
    assert (tmp_path / "out.h5").stat().st_size < 200_000


@pytest.mark.parametrize("name", ["a\0b", "a\0"])
def test_a_name_that_hdf5_cannot_hold_does_not_cost_the_file(made, name):
    file = made(H5, [same("first"), same(name, 2)])
    assert len(file) == 2


@pytest.mark.parametrize("keys", get_args(H5Key))
@pytest.mark.parametrize("kind", ["mean", "per_token"])
def test_the_same_rows_give_the_same_bytes(tmp_path, keys, kind):
    of = run(".h5", keys=keys, include=(kind,))
    for name in ("x.h5", "y.h5"):
        write(tmp_path / name, of, rows(of, ["a", "b", "a"] * 20))
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "y.h5").read_bytes()


# --- those who read it, as they document it ------------------------------------------------------


def test_protspace_finds_one_matrix_and_the_name_of_the_model(made):
    of = [row(H5, name, 3, i) for i, name in enumerate("abcde")]
    file = made(H5, of)
    datasets = [value for value in file.values() if isinstance(value, h5py.Dataset)]
    assert len(datasets) == len(file)  # no groups
    assert {(value.ndim, value.shape) for value in datasets} == {(1, (DIM,))}
    assert isinstance(file.attrs["model_name"], str)


def test_eat_stacks_every_dataset(made):
    of = [row(H5, name, 3, i) for i, name in enumerate("edcba")]
    file = made(H5, of)
    stacked = np.vstack([np.array(file[key]) for key in file])
    want = {own.record.id: own.outputs.mean[6] for own in of}
    np.testing.assert_array_equal(stacked, [want[key] for key in file])


@pytest.mark.parametrize("kind", ["mean", "per_token"])
def test_biotrainer_finds_a_sequence_by_its_hash(made, kind):
    of = run(".h5", keys="biotrainer", include=(kind,))
    all_rows = rows(of, ["a", "b", "c"])
    file = made(of, all_rows)
    for own in all_rows:
        sequence = own.record.sequence
        dataset = file[sha256(f"{sequence}_{len(sequence)}".encode()).hexdigest()]
        assert dataset.attrs["original_id"] == own.record.id
        assert dataset.compression == "gzip"
        np.testing.assert_array_equal(dataset, getattr(own.outputs, kind)[6])
