"""Commands on checkpoints without a language head, and on caches that are not to be changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from esm2.catalog import Checkpoint, find
from tests.checkpoints import hf_config, hf_tensors, save_hf, write_hf
from tests.cli import warm
from tests.cli.interrupted import run


@pytest.fixture(scope="module")
def tuned(reference, tmp_path_factory) -> Path:
    model = reference("tiny").model
    tensors = {n: t for n, t in hf_tensors(model).items() if not n.startswith("lm_head.")}
    return write_hf(tmp_path_factory.mktemp("tuned") / "tuned", hf_config(model), tensors)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a.fasta").write_text(">a\nMKTAYIAKQR\n>b\nMKT\n")
    (tmp_path / "one.fasta").write_text(">a\nMKTAYIAKQR\n")
    (tmp_path / "masked.fasta").write_text(">a\nMKT<mask>YIAKQR\n")
    (tmp_path / "x.csv").write_text("mutant\nK2A\n")
    return tmp_path


def test_the_embeddings_of_a_trunk_are_written(files, tuned, reference):
    for name, path in (("tuned", tuned), ("whole", reference("tiny").directory)):
        done = run(files, "embed", "a.fasta", "-o", f"{name}.npz", "--model", f"{name}={path}")
        assert done.status == 0, done.told
    one, other = (np.load(files / f"{name}.npz") for name in ("tuned", "whole"))
    assert one.files == other.files
    for name in one.files:
        if one[name].dtype == np.float32:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    "arguments",
    [
        ("logits", "one.fasta", "-o", "out.npz"),
        ("fill-mask", "masked.fasta"),
        ("scan", "one.fasta", "-o", "out.csv"),
        ("score", "--wt", "one.fasta", "--variants", "x.csv", "-o", "out.csv"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_needs_the_head_is_refused_in_one_line(files, tuned, arguments):
    before = set(files.iterdir())
    done = run(files, *arguments, "--model", f"tuned={tuned}")
    assert done.status == 1
    assert done.told[-1].startswith("esm2: tuned has no language head")
    assert done.told[-1].endswith("[request.logits_unavailable]")
    assert len(done.told) == 1
    assert set(files.iterdir()) == before


# --- the cache -----------------------------------------------------------------------------------


def _embed(files: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ESM"))
    }
    return warm.run_text(
        files,
        *("embed", "a.fasta", "-o", "out.npz", "--model", "esm2-8m"),
        environment=kept | {"HF_HOME": str(files / "home")} | variables,
    )


def _snapshot(files: Path, revision: str | None = None) -> Path:
    checkpoint = _esm2_8m()
    folder = f"models--{checkpoint.repo.replace('/', '--')}"
    return files / "home/hub" / folder / "snapshots" / (revision or checkpoint.revision)


def _esm2_8m() -> Checkpoint:
    checkpoint = find("esm2-8m")
    assert checkpoint is not None
    return checkpoint


def _everything(files: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in (files / "home").rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("offline", "weights"), [("0", False), ("0", True), ("1", False), ("1", True)]
)
def test_a_cached_file_that_is_not_the_published_one_stays_where_it_is(
    files, reference, offline, weights
):
    snapshot = save_hf(reference("8m").model, _snapshot(files))
    if not weights:
        (snapshot / "model.safetensors").unlink()
    before = _everything(files)
    # Nobody listens at this endpoint.
    done = _embed(files, HF_HUB_OFFLINE=offline, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert _everything(files) == before
    error = done.stderr.splitlines()[-1]
    if offline == "1" and not weights:
        assert error.startswith("esm2: HF_HUB_OFFLINE forbids to ask ")
    else:
        assert f"{snapshot / 'config.json'} is not the published file" in error
        unset = "unset HF_HUB_OFFLINE and " if offline == "1" else ""
        assert f"nothing was changed; to replace it, {unset}run `esm2 fetch esm2-8m`" in error


@pytest.mark.parametrize("offline", ["0", "1"])
def test_another_revision_in_the_cache_is_named_and_can_be_used(files, reference, offline):
    other = save_hf(reference("8m").model, _snapshot(files, "ab" * 20))
    before = _everything(files)
    done = _embed(files, HF_HUB_OFFLINE=offline, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert _everything(files) == before
    use = f"--model esm2-8m={other}"
    assert f"another revision is at {other}, to be used with {use}" in done.stderr
    again = run(files, "embed", "a.fasta", "-o", "out.npz", *use.split())
    assert again.status == 0, again.told


@pytest.mark.parametrize("offline", ["0", "1"])
def test_fetch_is_who_removes_a_wrong_file_and_not_even_it_offline(files, reference, offline):
    snapshot = save_hf(reference("8m").model, _snapshot(files))
    own = {"HF_HOME": str(files / "home"), "HF_HUB_OFFLINE": offline}
    done = warm.run_text(files, "fetch", "esm2-8m", environment=os.environ | own)
    assert done.returncode == 1
    assert done.stderr.endswith("[hub.hash_mismatch]\n")
    assert (snapshot / "config.json").exists() is (offline == "1")
    assert ("nothing was changed" in done.stderr) is (offline == "1")
