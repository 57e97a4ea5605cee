"""`esm2 verify` says what was compared, and never says passed of what was not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from esm2 import verify
from esm2.alphabet import tokenize
from tests.checkpoints import SHAPES, random_fair_esm, save_fair_esm
from tests.cli import warm
from tests.oracles import fair_esm_outputs

TOOL = Path(__file__).parents[2] / "tools" / "reference.py"

SEQUENCES = ("M", "MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY" * 6)


def esm2(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """The command, with an empty cache and no network."""
    hidden = ("HF_", "ESM2_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    own = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    return warm.run_text(Path.cwd(), *arguments, environment=env | own)


def write_reference(path: Path, model, sequences: tuple[str, ...]) -> None:
    """A reference file with everything fair-esm gives for these sequences."""
    spec = importlib.util.spec_from_file_location("reference_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    sys.modules["reference_tool"] = tool  # dataclasses look their module up
    spec.loader.exec_module(tool)
    recordings = []
    for sequence in sequences:
        arrays = {}
        for name, array in fair_esm_outputs(model, sequence).items():
            if name != "maps":  # which nobody has published
                arrays[name.replace(" ", "/")] = array
        amino = torch.from_numpy(arrays["logits"][:, 4:24]).double().log_softmax(dim=1)
        tokens = tokenize(sequence)
        true = torch.from_numpy(tokens[1:-1].astype(np.int64) - 4)
        arrays["log_prob"] = amino.gather(1, true[:, None]).sum().numpy()
        arrays["amino_logits"] = arrays["logits"][:, 4:24]
        name = f"fair-esm-{len(sequence)}aa"
        recordings.append(tool.Recording(name, "this test", "float32", tokens, arrays))
    tool.write(path, recordings)


def test_our_engine_passes_the_numbers_of_fair_esm_and_another_checkpoint_fails_them(
    reference, tmp_path
):
    own = reference("8m")
    write_reference(tmp_path / "own.npz", own.model, SEQUENCES)
    wanted = verify.read(tmp_path / "own.npz", own.engine.decided.shape)

    compared = verify.check(wanted, own.engine.run)

    assert {case.kind for case in wanted} == {
        *("mean", "per_token", "bos", "contacts", "attentions"),
        *("logits", "amino_logits", "log_prob"),
    }
    layers = {case.layer for case in wanted if case.kind == "mean"}
    assert layers == set(range(own.engine.decided.shape.layers + 1))
    assert [(c.case.name, c.case.label, c.difference) for c in compared if not c.passed] == []

    # A single residue has the same contact with itself in every checkpoint.
    write_reference(tmp_path / "other.npz", random_fair_esm(*SHAPES["8m"], seed=99), SEQUENCES[1:])
    others = verify.read(tmp_path / "other.npz", own.engine.decided.shape)
    compared = verify.check(others, own.engine.run)
    assert [(c.case.name, c.case.label, c.difference) for c in compared if c.passed] == []


def test_a_checkpoint_that_is_not_the_published_one_fails_and_exits_1(tmp_path):
    model = random_fair_esm(*SHAPES["8m"], seed=3)
    path = save_fair_esm(model, tmp_path / "esm2_t6_8M_UR50D.pt")

    done = esm2("verify", f"esm2-8m={path}", "--device", "cpu", cache=tmp_path / "cache")

    assert done.returncode == 1, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.endswith(("FAIL", "ok"))]
    wanted = verify.cases("esm2-8m")
    assert len(rows) == len(wanted)
    for row, case in zip(rows, wanted, strict=True):
        assert row.startswith(case.name)
        assert case.label in row
        assert f"{case.limit:.1e}" in row
    failed = sum(row.endswith("FAIL") for row in rows)
    assert failed > len(rows) // 2
    assert f"FAIL: {failed} of {len(rows)} differences are not within their limits" in done.stdout
    assert "is from BioLM/py-biolm@57722da:docs/model-docs/esm2-8m/esm2-8m.rst" in done.stdout
    assert "(not the hub's file: a copy in another format, or another checkpoint)" in done.stdout
    assert "cpu, float32" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_weights_it_says_where_it_looked_and_what_to_run_and_exits_1(tmp_path):
    done = esm2("verify", "ESM2-650M", cache=tmp_path)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "esm2-650m was not verified: there are no weights to verify" in done.stderr
    assert "esm2 verify esm2-650m=PATH" in done.stderr
    assert str(tmp_path) in done.stderr
    assert "esm2 fetch esm2-650m" in done.stderr
    assert "[model.weights_missing]" in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was fetched


@pytest.mark.parametrize("model", ["esm2-demo", "my-own=/nowhere"])
def test_a_model_without_published_numbers_is_not_verified_and_exits_1(model, tmp_path):
    done = esm2("verify", model, cache=tmp_path)

    assert done.returncode == 1
    assert done.stdout == ""
    slug = model.partition("=")[0]
    assert f"no published numbers to verify {slug} against, so nothing was verified" in done.stderr
    assert "[model.no_reference]" in done.stderr


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("esm2-9m", "[model.unknown]"),
        ("esm2-8m=/nowhere/at/all", "[checkpoint.invalid]"),
        ("esm2-8m=", "[settings.invalid]"),
    ],
)
def test_what_cannot_be_verified_is_refused_in_a_sentence(model, code, tmp_path):
    done = esm2("verify", model, cache=tmp_path)

    assert done.returncode == 1
    assert code in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
