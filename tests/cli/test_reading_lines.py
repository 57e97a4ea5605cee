"""The lines of the documentation that read what `esm2 embed` writes, run as they stand.

The one of anndata, which wants another pandas, is run in tests/clients/test_readers.py.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pandas
import pytest

from tests.storing import META, rows, run, write

ROOT = Path(__file__).parents[2]
MADE = rows(run(), ["a", "b"])


@pytest.fixture
def names(tmp_path, monkeypatch):
    """A directory with the files that the lines name, and what they need imported."""
    monkeypatch.chdir(tmp_path)
    for name in ("proteins.npz", "out.npz", "OUT.npz"):
        write(tmp_path / name, run(), MADE)
    own = {"numpy": np, "json": json, "pandas": pandas}
    yield own
    for value in own.values():
        if isinstance(value, np.lib.npyio.NpzFile):
            value.close()


def check(embedding: dict[str, np.ndarray]) -> None:
    assert list(embedding) == ["a", "b"]
    for own, vector in zip(MADE, embedding.values(), strict=True):
        np.testing.assert_array_equal(vector, own.outputs.mean[6])


def test_those_of_the_page_on_embedding(names):
    page = (ROOT / "docs/embedding.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines():
        if "anndata." not in line:
            exec(line, names)
    check(names["embedding"])
    assert names["made_by"] == META
    assert names["frame"].index.tolist() == ["a", "b"]


def test_those_of_the_readme(names):
    (row,) = re.findall(r"^\| read an `.npz` \|.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    load, pairs, meta, *_ = [code for code in re.findall(r"`([^`]+)`", row) if "(" in code]
    exec(load, names)
    check(eval(pairs, names))
    assert eval(meta, names) == META


def test_those_of_the_help(names):
    text = importlib.import_module("esm2.cli.embed").embed.__doc__
    load, pairs, meta = (line for line in text.splitlines() if re.match(r" +(x =|dict|json)", line))
    exec(load.strip(), names)
    check(eval(pairs.strip(), names))
    assert eval(meta.strip(), names) == META
