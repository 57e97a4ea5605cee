"""OUT.h5ad: names that differ, and the layout; anndata itself reads it in tests/clients."""

import h5py
import numpy as np
import pytest

from tests.storing import DIM, META, rows, run, write

H5AD = run(".h5ad")


def test_a_row_of_each_record_and_a_column_of_each_dimension(tmp_path):
    made = rows(H5AD, ["sp|P1|β/x", "b"])
    assert write(tmp_path / "out.h5ad", H5AD, made) == []
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert file.attrs["encoding-type"] == "anndata"
        assert (file["X"].shape, file["X"].dtype) == ((2, DIM), np.float32)
        assert file["obs/_index"].asstr()[:].tolist() == ["sp|P1|β/x", "b"]
        assert file["obs/description"].asstr()[:].tolist() == [own.record.header for own in made]
        assert file["var/_index"].asstr()[:].tolist() == ["e0", "e1", "e2", "e3"]
        assert list(file["obs"].attrs["column-order"]) == [
            *("original_id", "description", "length", "sequence_sha256")
        ]
        about = file["uns/esm2"]
        assert about["source"].asstr()[()] == META["source"]
        assert about["layers"][:].tolist() == META["layers"]
        assert about["X"].asstr()[()] == "mean_6"


def test_other_kinds_and_layers_are_beside_the_first_kind_of_the_last_layer(tmp_path):
    of = run(".h5ad", include=("mean", "bos", "min"), layers=(0, 6))
    made = rows(of, ["a", "b", "c"])
    write(tmp_path / "out.h5ad", of, made)
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert set(file["obsm"]) == {"mean_0", "bos_0", "bos_6", "min_0", "min_6"}
        found = {f"obsm/{name}": own for name, own in file["obsm"].items()}
        for name, matrix in {"X/mean_6": file["X"], **found}.items():
            kind, _, layer = name.partition("/")[2].partition("_")
            want = [getattr(own.outputs, kind)[int(layer)] for own in made]
            np.testing.assert_array_equal(matrix, want)


@pytest.mark.parametrize(
    ("ids", "names", "told"),
    [
        (["a", "b", "a", "a"], ["a", "b", "a#2", "a#3"], "2 of its ids were"),
        (["a", "a", "a#2"], ["a", "a#3", "a#2"], "1 of its ids was"),
        (["a#2", "a", "a#2", "a"], ["a#2", "a", "a#2#2", "a#3"], "2 of its ids were"),
        (["a\0", "a_"], ["a_", "a_#2"], "1 of its ids was"),
    ],
)
def test_an_id_that_was_there_before_has_a_number_and_that_is_told(tmp_path, ids, names, told):
    (note,) = write(tmp_path / "out.h5ad", H5AD, rows(H5AD, ids))
    assert note.startswith(told)
    assert "original_id has the id" in note
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert file["obs/_index"].asstr()[:].tolist() == names
        assert file["obs/original_id"].asstr()[:].tolist() == [i.replace("\0", "_") for i in ids]


def test_more_records_than_are_written_at_once_stay_in_order(tmp_path):
    made = rows(H5AD, [f"r{i}" for i in range(5000)])
    write(tmp_path / "out.h5ad", H5AD, made)
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert file["obs/_index"].asstr()[:].tolist() == [own.record.id for own in made]
        np.testing.assert_array_equal(file["X"], [own.outputs.mean[6] for own in made])
