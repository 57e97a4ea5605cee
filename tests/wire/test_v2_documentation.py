"""The programs of BioLM's ESM-2 API page, word for word; only the host and the slug are ours.

One correction: the Python programs use `os` without importing it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esm2 import Model
from esm2.numerics import PROCESSOR
from tests.near import assert_near
from tests.wire.server import PATIENCE, Server, environment

PROGRAMS = Path(__file__).parents[1] / "data" / "biolm"
THEIR_HOST_AND_SLUG = "https://biolm.ai/api/v2/esm2-650m/"
SLUG = "esm2-8m"
SHAPES = {"mean": (320,), "contacts": (251, 251), "logits": (251, 20), "attentions": (6, 251)}


def program(language: str, action: str) -> str:
    """The page's program that calls an action."""
    text = (PROGRAMS / f"{action}.{language}.txt").read_text(encoding="utf-8")
    assert f"{THEIR_HOST_AND_SLUG}{action}/" in text
    return text


def run(server: Server, command: list[str], text: str) -> Any:
    """Run a program of the page against our server and read what it prints."""
    ours = text.replace(THEIR_HOST_AND_SLUG, f"{server.url}/api/v2/{SLUG}/")
    done = subprocess.run(
        [*command, ours],
        env=environment(BIOLMAI_TOKEN=server.headers["Authorization"].removeprefix("Token ")),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sequence_of(text: str) -> str:
    [sequence] = re.findall(r'"sequence\\?": \\?"([A-Z<>mask]+)', text)
    return sequence


def check_encode(answer: Any, sequence: str, model: Model) -> None:
    """The documented shape, the engine's numbers."""
    [result] = answer["results"]
    keys = ["mean_representations", "contacts", "logits", "attentions"]
    assert list(result) == ["sequence_index", *keys]
    assert result["sequence_index"] == 0
    [want] = model.encode([sequence], include=list(SHAPES))
    [(layer, mean)] = result["mean_representations"].items()
    assert layer == "6"
    for kind, got, own in [
        ("mean", mean, want.mean[6]),
        *((kind, result[kind], getattr(want, kind)) for kind in ("contacts", "logits")),
        ("attentions", result["attentions"], want.attentions),
    ]:
        assert np.float32(got).shape == SHAPES[kind]
        assert np.array_equal(np.float32(got), own), kind


def check_predict(answer: Any, sequence: str, model: Model) -> None:
    """The documented shape, the engine's numbers."""
    [result] = answer["results"]
    assert list(result) == ["logits", "sequence_tokens", "alphabet_tokens"]
    assert len(result["sequence_tokens"]) == 251
    assert result["sequence_tokens"][18] == "<mask>"
    assert "".join(result["sequence_tokens"]) == sequence
    assert "".join(result["alphabet_tokens"]) == "LAGVSERTIDPKQNFYMHWC"
    assert np.array_equal(np.float32(result["logits"]), model.predict([sequence])[0])


CHECKS = {"encode": check_encode, "predict": check_predict}


@pytest.mark.parametrize("action", CHECKS)
def test_the_curl_call_runs_as_it_stands(guarded, direct, action):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    text = program("curl", action)
    answer = run(guarded, ["bash", "-c"], text)
    CHECKS[action](answer, sequence_of(text), direct(SLUG))


@pytest.mark.parametrize("action", CHECKS)
def test_the_python_program_runs_as_it_stands(guarded, direct, action):
    text = program("python", action)
    answer = run(guarded, [sys.executable, "-c"], f"import os\n{text}")
    CHECKS[action](answer, sequence_of(text), direct(SLUG))


@pytest.mark.parametrize("action", CHECKS)
def test_the_r_program_runs_as_it_stands(guarded, direct, action):
    text = program("r", action)
    have = (
        shutil.which("Rscript")
        and not subprocess.run(
            ["Rscript", "-e", "library(RCurl)"], capture_output=True, check=False
        ).returncode
    )
    if not have:
        pytest.skip("R with RCurl is not installed")
    answer = run(guarded, ["Rscript", "-e"], text)
    CHECKS[action](answer, sequence_of(text), direct(SLUG))


# --- our own README ------------------------------------------------------------------------------


def test_the_readme_shows_what_its_call_answers(server):
    """As `esm2 serve` prints it; the README shows the first numbers, and what they mean."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [(call, shown)] = re.findall(
        r"```\n(curl .*?)```\n```json\n(.*?) \.\.\.\n```", readme, re.DOTALL
    )
    answered = subprocess.run(
        ["bash", "-c", call.replace("http://127.0.0.1:8000", server.url)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    head, numbers = re.fullmatch(r"(.*\[)([^\[]*)", shown.rstrip(",")).groups()
    assert answered.startswith(head)
    want = [float(number) for number in numbers.split(",")]
    got = [float(number) for number in answered.removeprefix(head).split(",")[: len(want)]]
    assert_near(got, want, PROCESSOR)

    [result] = json.loads(answered)["results"]
    row = np.exp(result["logits"][result["sequence_tokens"].index("<mask>")])
    likeliest = sorted(zip(row / row.sum(), result["alphabet_tokens"], strict=True), reverse=True)
    said = re.search(r"masked residue is \*\*(\w) \(([\d.]+) %\)\*\*, (\w) \(([\d.]+) %\)", readme)
    meant = [part for p, letter in likeliest[:2] for part in (letter, f"{100 * p:.0f}")]
    assert list(said.groups()) == meant
