"""What lies in the place of a checkpoint is told by what it is, with what to do."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoints import hf_config, save_fair_esm, save_hf
from tests.loading import MODEL, live_tensors, load, refusal

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 31\n"
PAGE = b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>"
AGAIN = "download or copy it again"

FILES = ["model.safetensors", "pytorch_model.bin", "esm2.pt", "esm2-contact-regression.pt"]


def _broken(directory: Path, file: str, change: Callable[[bytes], bytes]) -> str:
    """What is said of a checkpoint with one file changed; it always names that file."""
    save_hf(MODEL, directory, container="bin" if file.endswith("bin") else "safetensors")
    pt = save_fair_esm(MODEL, directory / "esm2.pt")
    (directory / file).write_bytes(change((directory / file).read_bytes()))
    message = refusal(pt if file.endswith("pt") else directory)
    assert message.startswith(f"{directory / file}: ")
    assert "weights_only" not in message
    return message


def _zip(_: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("readme.txt", "weights are elsewhere")
    return body.getvalue()


def _tar(_: bytes) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"))
    return body.getvalue()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: b"", f"is empty: {AGAIN}"),
        (lambda _: POINTER, "is a Git LFS pointer and not the weights themselves: run `git lfs"),
        (lambda _: PAGE, f"is a web page and not weights, as a failed download leaves it: {AGAIN}"),
        (lambda _: b"  \n<html>", "is a web page and not weights"),
        (lambda _: b'{"error":"Repository not found"}', "is JSON and not weights (32 bytes)"),
        (lambda _: b"Entry not found", "is text and not weights (15 bytes)"),
        (lambda _: b"GGUF\3\0\0\0" + bytes(99), "is a GGUF file"),
        (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file (TensorFlow or Keras)"),
        (gzip.compress, "is compressed with gzip: unpack it"),
        (_tar, "is a tar archive: unpack it"),
    ],
)
def test_what_is_in_the_place_of_weights_is_named(
    tmp_path: Path, file: str, change: Callable[[bytes], bytes], said: str
) -> None:
    assert said in _broken(tmp_path, file, change)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_told(tmp_path: Path, file: str, share: float) -> None:
    message = _broken(tmp_path, file, lambda body: body[: max(10, int(share * len(body)))])
    assert "is cut short" in message
    assert AGAIN in message


def test_of_a_cut_safetensors_file_both_sizes_are_told(tmp_path: Path) -> None:
    sizes = []

    def cut(body: bytes) -> bytes:
        sizes.append(len(body))
        return body[:-3]

    message = _broken(tmp_path, "model.safetensors", cut)
    assert f"is cut short: {sizes[0] - 3:,} of {sizes[0]:,} bytes" in message


@pytest.mark.parametrize("file", FILES[1:])
def test_a_zip_that_is_not_torchs_is_told(tmp_path: Path, file: str) -> None:
    assert "is a zip archive that torch did not write" in _broken(tmp_path, file, _zip)


@pytest.mark.parametrize("file", FILES[1:])
def test_a_module_that_was_pickled_whole_is_told_and_nobody_advised_to_run_it(
    tmp_path: Path, file: str
) -> None:
    def whole(_: bytes) -> bytes:
        body = io.BytesIO()
        torch.save(torch.nn.Linear(2, 2), body)
        return body.getvalue()

    message = _broken(tmp_path, file, whole)
    assert "holds objects of a program (torch.nn.modules.linear.Linear)" in message
    assert "torch.save(model.state_dict(), FILE)" in message


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("file", FILES[1:])
def test_a_pickle_of_anybody_is_not_read(tmp_path: Path, file: str, protocol: int) -> None:
    change = pickle.dumps({"model": [1, 2]}, protocol=protocol)
    assert "is a pickle that torch did not write" in _broken(tmp_path, file, lambda _: change)


def test_the_form_of_torch_before_1_6_is_read(tmp_path: Path) -> None:
    save_hf(MODEL, tmp_path, container="bin")
    file = tmp_path / "pytorch_model.bin"
    torch.save(live_tensors(), file, _use_new_zipfile_serialization=False)
    load(tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    assert "is cut short or damaged: torch cannot read it" in refusal(tmp_path)


def test_a_file_under_the_name_of_the_other_kind_is_told(tmp_path: Path) -> None:
    torch_file = (
        save_hf(MODEL, tmp_path / "a", container="bin") / "pytorch_model.bin"
    ).read_bytes()
    other = (save_hf(MODEL, tmp_path / "b") / "model.safetensors").read_bytes()
    (tmp_path / "c").mkdir()
    (tmp_path / "d").mkdir()
    message = _broken(tmp_path / "c", "model.safetensors", lambda _: torch_file)
    assert "name it pytorch_model.bin" in message
    message = _broken(tmp_path / "d", "pytorch_model.bin", lambda _: other)
    assert "name it model.safetensors" in message


# --- directories ---------------------------------------------------------------------------------


def _adapter(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    about = {"peft_type": "LORA", "base_model_name_or_path": "facebook/esm2_t6_8M_UR50D"}
    (directory / "adapter_config.json").write_text(json.dumps(about))
    (directory / "adapter_model.safetensors").write_bytes(b"")
    return directory


def test_an_adapter_is_told_with_what_it_is_of(tmp_path: Path) -> None:
    message = refusal(_adapter(tmp_path / "adapter"))
    assert "is a PEFT adapter of facebook/esm2_t6_8M_UR50D, not a whole model" in message
    assert "merge_and_unload()" in message


def test_an_adapter_beside_whole_weights_is_not_left_out_in_silence(tmp_path: Path) -> None:
    assert "is a PEFT adapter" in refusal(_adapter(save_hf(MODEL, tmp_path / "both")))


def test_a_directory_of_checkpoints_names_the_last_step(tmp_path: Path) -> None:
    for step in (500, 1500, 1000):
        save_hf(MODEL, tmp_path / "run" / f"checkpoint-{step}")
    message = refusal(tmp_path / "run")
    assert "is not a checkpoint but holds 3" in message
    assert f"such as {tmp_path / 'run' / 'checkpoint-1500'}" in message


@pytest.mark.parametrize("root", ["home", "home/hub", "home/hub/models--a--b"])
def test_a_cache_names_a_snapshot_in_it(tmp_path: Path, root: str) -> None:
    snapshot = tmp_path / "home/hub/models--a--b/snapshots/5e5e"
    save_hf(MODEL, snapshot)
    message = refusal(tmp_path / root)
    assert "Hugging Face cache" in message
    assert str(snapshot) in message


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors"])
def test_a_snapshot_whose_blobs_are_gone_is_told(tmp_path: Path, gone: str) -> None:
    directory = save_hf(MODEL, tmp_path / "snapshot")
    (directory / gone).unlink()
    (directory / gone).symlink_to("../../blobs/5e5e")
    message = refusal(directory)
    assert f"{gone} is a link to ../../blobs/5e5e, which is not there" in message
    assert "cp -rL" in message


def test_a_shard_whose_blob_is_gone_and_all_that_are_missing_are_named(tmp_path: Path) -> None:
    directory = save_hf(MODEL, tmp_path / "hf", shards=4)
    first, second, *_ = sorted(directory.glob("*.safetensors"))
    first.unlink()
    second.unlink()
    second.symlink_to("../blobs/gone")
    message = refusal(directory)
    assert f"lacks 2 of its 4 files of weights, {first.name}, {second.name}" in message


def test_shards_without_their_index_are_told(tmp_path: Path) -> None:
    directory = save_hf(MODEL, tmp_path / "hf", shards=2)
    (directory / "model.safetensors.index.json").unlink()
    assert "has 2 shards" in refusal(directory)


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize(
    ("file", "program"),
    [
        ("tf_model.h5", "TensorFlow"),
        ("flax_model.msgpack", "Flax"),
        ("model.onnx", "ONNX"),
        ("esm2-q8.gguf", "GGUF"),
        ("mp_rank_00_model_states.pt", "DeepSpeed"),
    ],
)
def test_weights_of_other_programs_are_told(
    tmp_path: Path, file: str, program: str, with_config: bool
) -> None:
    (tmp_path / file).write_bytes(b"\1\2\3")
    if with_config:
        (tmp_path / "config.json").write_text(json.dumps(hf_config(MODEL)))
    message = refusal(tmp_path)
    assert f"holds only weights of {program}" in message
    assert "save_pretrained(DIR)" in message


@pytest.mark.parametrize("file", ["model.onnx", "esm2.gguf"])
def test_a_file_of_another_program_is_told(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"\1\2\3")
    assert "which this program does not read" in refusal(tmp_path / file)


def test_the_files_of_a_checkpoint_lead_to_its_directory(tmp_path: Path) -> None:
    directory = save_hf(MODEL, tmp_path / "hf")
    for file in ("config.json", "model.safetensors"):
        assert f"name its directory, {directory}" in refusal(directory / file)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "run.ckpt", "esm2.pt"])
def test_weights_without_a_configuration_say_what_to_do(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"\1\2\3")
    assert f"has no config.json beside {file}" in refusal(tmp_path)


def test_an_empty_directory_and_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert "is empty" in refusal(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert "is a link to" in refusal(tmp_path / "link")
