"""Each format, read with what its users read it with: nothing is lost, and nothing differs."""

import csv
import json
import zipfile

import h5py
import numpy as np
import pandas
import polars
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2 import files
from esm2.types import Outputs
from tests.storing import DIM, META, SEVERAL, Row, row, rows, run, write

FLAT = {"keep_default_na": False, "dtype": {"id": str}}


def read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["ids"].tolist(), arrays["lengths"].tolist(), arrays["embeddings"]


def read_safetensors(path):
    arrays = safetensors.numpy.load_file(path)
    ids = bytes(arrays["ids"]).decode().split("\n")
    return ids, arrays["lengths"].tolist(), arrays["embeddings"]


def read_pandas(path):
    frame = pandas.read_parquet(path)
    return frame["id"].tolist(), frame["length"].tolist(), np.stack(frame["embedding"])


def read_polars(path):
    frame = polars.read_parquet(path)
    return frame["id"].to_list(), frame["length"].to_list(), frame["embedding"].to_numpy()


def read_csv(path):
    frame = pandas.read_csv(path, **FLAT).astype({f"e{i}": np.float32 for i in range(DIM)})
    return frame["id"].tolist(), frame["length"].tolist(), frame.iloc[:, 2:].to_numpy()


def read_jsonl(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    vectors = [line["embeddings"][0]["embedding"] for line in lines]
    return (
        [line["id"] for line in lines],
        [line["length"] for line in lines],
        np.array(vectors, np.float32),
    )


def read_h5ad(path):
    with h5py.File(path) as file:
        obs = file["obs"]
        return obs["original_id"].asstr()[:].tolist(), obs["length"][:].tolist(), file["X"][:]


READERS = {
    "numpy": (".npz", read_npz),
    "safetensors": (".safetensors", read_safetensors),
    "pandas": (".parquet", read_pandas),
    "polars": (".parquet", read_polars),
    "h5ad": (".h5ad", read_h5ad),
    "csv": (".csv", read_csv),
    "jsonl": (".jsonl", read_jsonl),
}
readers = pytest.mark.parametrize(("format", "read"), READERS.values(), ids=READERS)
words = st.text(
    # numpy drops the NULs that end a text; no id has a line end in it
    st.characters(exclude_characters="\n\r\0", exclude_categories=("Cs", "Zs", "Zl", "Zp", "Cc")),
    min_size=1,
    max_size=12,
)


@readers
@settings(derandomize=True, deadline=None, max_examples=15)
@given(ids=st.lists(words, min_size=1, max_size=9))
def test_ids_lengths_order_and_numbers_survive(tmp_path_factory, format, read, ids):
    path = tmp_path_factory.mktemp("store") / f"out{format}"
    made = rows(run(format), ids)
    notes = write(path, run(format), made)
    assert bool(notes) == (format == ".h5ad" and len(set(ids)) < len(ids))

    got, lengths, vectors = read(path)

    assert got == ids
    assert lengths == [len(own.record.sequence) for own in made]
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [own.outputs.mean[6] for own in made])


@readers
def test_ids_that_look_like_something_else_stay_text(tmp_path, format, read):
    ids = ["NA", "007", "1e5", "true", "null", "=1+1", 'a"b,c', "#x", "sp|P1|β-α", "NA", "nan"]
    write(tmp_path / f"out{format}", run(format), rows(run(format), ids))
    assert read(tmp_path / f"out{format}")[0] == ids


@readers
def test_every_float32_comes_back_bit_for_bit(tmp_path, format, read):
    extreme = [0.0, -0.0, 1e-45, -1.1754942e-38, 3.4028235e38, 0.1, 1 / 3, 16777217, 1e22, 9.999e-5]
    noise = np.random.default_rng(0)
    bits = noise.integers(0, 1 << 32, 2000, np.uint64).astype(np.uint32).view(np.float32)
    numbers = np.concatenate([np.float32(extreme), bits[np.isfinite(bits)]])
    numbers = numbers[: len(numbers) // DIM * DIM].reshape(-1, DIM)
    of = run(format)
    made = [
        Row(row(of, f"r{i}").record, Outputs(mean={6: vector}), 3)
        for i, vector in enumerate(numbers)
    ]
    write(tmp_path / f"out{format}", of, made)
    found = np.ascontiguousarray(read(tmp_path / f"out{format}")[2])
    np.testing.assert_array_equal(found.view(np.uint32), numbers.view(np.uint32))


@pytest.mark.parametrize("format", files.FORMATS)
def test_the_same_rows_give_the_same_bytes(tmp_path, format):
    of = run(format)
    for name in ("x", "y"):
        write(tmp_path / f"{name}{format}", of, rows(of, ["a", "b", "a"]))
    assert (tmp_path / f"x{format}").read_bytes() == (tmp_path / f"y{format}").read_bytes()


@pytest.mark.parametrize("format", [".npz", ".safetensors"])
def test_several_layers_are_a_dimension_in_ascending_order(tmp_path, format):
    of = run(format, **SEVERAL)
    made = rows(of, ["c", "a", "b"])
    path = tmp_path / f"out{format}"
    write(path, of, made)
    if format == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            found = dict(arrays)
    else:
        found = safetensors.numpy.load_file(path)

    assert found["layers"].tolist() == [0, 2, 6]
    assert found["embeddings"].shape == found["bos_embeddings"].shape == (3, 3, DIM)
    assert found["per_token_embeddings"].shape == (6, 3, DIM)
    assert found["offsets"].tolist() == [0, 1, 3, 6]
    assert found["offsets"].dtype == found["layers"].dtype == found["lengths"].dtype == np.int64
    for i, own in enumerate(made):
        begin, end = found["offsets"][i : i + 2]
        for k, layer in enumerate(of.layers):
            np.testing.assert_array_equal(found["embeddings"][i, k], own.outputs.mean[layer])
            np.testing.assert_array_equal(found["bos_embeddings"][i, k], own.outputs.bos[layer])
            np.testing.assert_array_equal(
                found["per_token_embeddings"][begin:end, k], own.outputs.per_token[layer]
            )


@pytest.mark.parametrize("format", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("mean", {"embeddings"}),
        ("bos", {"bos_embeddings"}),
        ("max", {"max_embeddings"}),
        ("min", {"min_embeddings"}),
        ("per_token", {"per_token_embeddings", "offsets"}),
    ],
)
def test_only_what_was_asked_for_is_there(tmp_path, format, kind, own):
    of = run(format, include=(kind,))
    write(tmp_path / "out", of, rows(of, ["a"]))
    if format == ".npz":
        with np.load(tmp_path / "out", allow_pickle=False) as arrays:
            assert set(arrays) == {"ids", "lengths", "layers", "meta"} | own
    else:
        assert (
            set(safetensors.numpy.load_file(tmp_path / "out")) == {"ids", "lengths", "layers"} | own
        )


def test_rows_per_residue_of_one_layer_have_two_dimensions(tmp_path):
    of = run(include=("per_token",))
    made = rows(of, ["a", "b"])
    write(tmp_path / "out.npz", of, made)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(
            found["per_token_embeddings"], np.concatenate([o.outputs.per_token[6] for o in made])
        )


def test_a_column_of_parquet_for_each_kind_and_layer(tmp_path):
    of = run(".parquet", include=("mean", "bos"), layers=(0, 6))
    made = rows(of, ["a", "b"])
    write(tmp_path / "out.parquet", of, made)
    frame = pandas.read_parquet(tmp_path / "out.parquet")
    assert list(frame.columns) == [
        *("id", "description", "length", "sequence_sha256"),
        *("mean_0", "mean_6", "bos_0", "bos_6"),
    ]
    assert frame["description"].tolist() == ["a of a test", "b of a test"]
    for layer in of.layers:
        for kind in of.include:
            want = [getattr(own.outputs, kind)[layer] for own in made]
            np.testing.assert_array_equal(np.stack(frame[f"{kind}_{layer}"]), want)
    assert (
        frame["sequence_sha256"].tolist()
        == polars.read_parquet(tmp_path / "out.parquet")["sequence_sha256"].to_list()
    )


def test_a_large_parquet_file_is_in_groups_and_in_order(tmp_path):
    of = run(".parquet", dim=1 << 20)
    vectors = np.arange(9, dtype=np.float32).repeat(of.dim).reshape(9, -1)
    made = [
        Row(row(run(), f"r{i}").record, Outputs(mean={6: vector}), 3)
        for i, vector in enumerate(vectors)
    ]
    write(tmp_path / "out.parquet", of, made)
    frame = polars.read_parquet(tmp_path / "out.parquet", columns=["id", "embedding"])
    assert frame["id"].to_list() == [f"r{i}" for i in range(9)]
    np.testing.assert_array_equal(frame["embedding"].to_numpy(), vectors)


def test_a_line_of_json_has_every_kind_and_layer(tmp_path):
    of = run(".jsonl", include=("mean", "per_token", "bos", "max"), layers=(0, 2, 6))
    made = rows(of, ["a", "b"])
    write(tmp_path / "out.jsonl", of, made)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "b"]
    words = {
        "mean": ("embeddings", "embedding"),
        "per_token": ("per_token_embeddings", "embeddings"),
        "bos": ("bos_embeddings", "embedding"),
        "max": ("max_embeddings", "embedding"),
    }
    for line, own in zip(lines, made, strict=True):
        for kind, (plural, singular) in words.items():
            assert [entry["layer"] for entry in line[plural]] == [0, 2, 6]
            for entry in line[plural]:
                np.testing.assert_array_equal(
                    np.float32(entry[singular]), getattr(own.outputs, kind)[entry["layer"]]
                )


def test_how_it_was_made_is_in_the_file(tmp_path):
    for format in (".npz", ".safetensors", ".parquet"):
        write(tmp_path / f"out{format}", run(format), rows(run(format), ["a"]))
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert arrays["meta"].shape == ()
        assert json.loads(str(arrays["meta"])) == META
    with safetensors.safe_open(tmp_path / "out.safetensors", "numpy") as file:
        assert file.metadata() == {**META, "layers": "[6]"}
    schema = polars.read_parquet_metadata(tmp_path / "out.parquet")
    assert json.loads(schema["esm2"]) == META


@readers
def test_what_was_done_to_long_records_has_columns_of_its_own(tmp_path, format, read):
    of = run(format, long="window", max_residues=4)
    made = [row(of, "a", 3), row(of, "b", 9, windows=4), row(of, "c", 9, used=4)]
    path = tmp_path / f"out{format}"
    write(path, of, made)
    if format == ".npz":
        with np.load(path) as arrays:
            found = {name: arrays[name].tolist() for name in ("lengths", "used", "windows")}
    elif format == ".safetensors":
        arrays = safetensors.numpy.load_file(path)
        found = {name: arrays[name].tolist() for name in ("lengths", "used", "windows")}
    elif format == ".parquet":
        frame = pandas.read_parquet(path).rename(columns={"length": "lengths"})
        found = frame[["lengths", "used", "windows"]].to_dict("list")
    elif format == ".h5ad":
        with h5py.File(path) as file:
            keys = {"lengths": "length", "used": "used", "windows": "windows"}
            found = {name: file[f"obs/{key}"][:].tolist() for name, key in keys.items()}
    elif format == ".csv":
        with path.open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert list(lines[0]) == ["id", "length", "used", "windows", "e0", "e1", "e2", "e3"]
        keys = {"lengths": "length", "used": "used", "windows": "windows"}
        found = {name: [int(line[key]) for line in lines] for name, key in keys.items()}
    else:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        keys = {"lengths": "length", "used": "used", "windows": "windows"}
        found = {name: [line[key] for line in lines] for name, key in keys.items()}
    assert found == {"lengths": [3, 9, 9], "used": [3, 9, 4], "windows": [1, 4, 1]}


@pytest.mark.parametrize("format", files.FORMATS)
def test_the_region_of_each_record_is_beside_what_was_pooled_of_it(tmp_path, format):
    of = run(format, include=("max",), region="sha256:0")
    made = [row(of, "a", 9, used=3, region="2-4"), row(of, "b", 9, used=4, region="1-2,8-9")]
    path = tmp_path / f"out{format}"
    write(path, of, made)
    if format == ".npz":
        with np.load(path) as arrays:
            found = arrays["regions"].tolist(), arrays["used"].tolist()
            assert "windows" not in arrays
    elif format == ".safetensors":
        arrays = safetensors.numpy.load_file(path)
        found = bytes(arrays["regions"]).decode().split("\n"), arrays["used"].tolist()
        assert bytes(arrays["ids"]) == b"a\nb"
    elif format == ".parquet":
        frame = pandas.read_parquet(path)
        found = frame["region"].tolist(), frame["used"].tolist()
    elif format == ".h5ad":
        with h5py.File(path) as file:
            found = file["obs/region"].asstr()[:].tolist(), file["obs/used"][:].tolist()
    elif format == ".csv":
        frame = pandas.read_csv(path)
        found = frame["region"].tolist(), frame["used"].tolist()
    elif format == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = [line["region"] for line in lines], [line["used"] for line in lines]
    else:
        with h5py.File(path) as file:
            assert (file.attrs["pooling"], file.attrs["region"]) == ("max", "sha256:0")
            found = [own.attrs["region"] for own in file.values()], [3, 4]
    assert found == (["2-4", "1-2,8-9"], [3, 4])


def test_the_archive_is_stored_uncompressed_and_sound(tmp_path):
    write(tmp_path / "out.npz", run(), rows(run(), ["a"]))
    with zipfile.ZipFile(tmp_path / "out.npz") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    ("format", "include", "layers", "held"),
    [
        (".npz", ("mean", "per_token", "bos"), 3, True),
        (".safetensors", ("mean", "per_token", "bos"), 3, True),
        (".jsonl", ("mean", "per_token", "bos"), 3, True),
        (".parquet", ("mean", "bos"), 3, True),
        (".parquet", ("per_token",), 1, False),
        (".h5ad", ("mean", "max", "bos"), 3, True),
        (".h5ad", ("per_token",), 1, False),
        (".h5", ("per_token",), 1, True),
        (".h5", ("mean",), 2, False),
        (".h5", ("mean", "bos"), 1, False),
        (".csv", ("bos",), 1, True),
        (".csv", ("mean",), 2, False),
        (".csv", ("mean", "bos"), 1, False),
        (".csv", ("per_token",), 1, False),
    ],
)
def test_a_format_objects_to_what_it_cannot_hold(format, include, layers, held):
    objection = files.FORMATS[format].objection(include, layers)
    assert (objection is None) == held
    assert held or objection.startswith(f"{format} holds ")


def test_a_format_is_found_by_the_ending_in_any_case(tmp_path):
    assert files.find(tmp_path / "a.b.H5") is files.FORMATS[".h5"]
    assert files.find(tmp_path / "npz") is None
    assert files.find(tmp_path / "x.npz.gz") is None
