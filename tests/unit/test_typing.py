"""What a type checker says to a program that uses this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import numpy as np

import esm2
from esm2.client import AsyncClient, Client
from esm2.local import Model
from esm2.science.scoring import pseudo_perplexity
from esm2.types import Float

def fine(m: Model, c: Client, residues: bool) -> None:
    m.embed(["MKT"]).shape
    m.embed(["MKT"], layers=-1, pool="bos").shape
    m.embed(["MKT"], pool=None)[0].shape
    m.embed(("M" for _ in range(2)), [0, -1], None)
    c.embed(["MKT"], progress=True).shape
    for array in c.embed(["MKT"], pool=None):
        array.shape
    either: Float | list[Float] = m.embed(["MKT"], pool=None if residues else "mean")
    m.encode(["MKT"])[0].mean[-1].shape
    m.embed(["MKT"], layers=np.int64(2)).shape
    m.attention_maps("MKT", [np.int64(1), 2], np.arange(2)).shape
    c.score_variants("MKT", ["M1A"], offset=np.int64(0)).shape
    pseudo_perplexity(m.pll(["MKT", "GG"]), map(len, ["MKT", "GG"])).shape
    pseudo_perplexity(-3.5, 3).hex()

async def also(a: AsyncClient) -> None:
    (await a.embed(["MKT"])).shape
    (await a.embed(["MKT"], pool=None))[0].shape

def wrong(m: Model, c: Client) -> None:
    m.embed(["MKT"], pool=None).shape
    c.embed(["MKT"], pool=None).shape
    m.embed(5)
    m.embed(["MKT"], pool="sum")
    m.encode(["MKT"], include=["loss"])
"""


def test_arrays_have_shapes_and_lists_have_none_for_a_type_checker_too(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    # From the root, where `make check` has left what it knows of our modules.
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    lines = PROGRAM.splitlines()
    first = next(n for n, line in enumerate(lines, 1) if line.startswith("def wrong"))
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert found == set(range(first + 1, len(lines) + 1)), done.stdout
