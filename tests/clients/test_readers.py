"""Programs of the field that read the files of `esm2 embed`: the real ones, as they are published.

They are installed without their dependencies, and run on those of this environment.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import esm2
from tests.clients.roster import ENVIRONMENTS

PROTSPACE = "protspace-4.8.2"
RECORDS = {"sp|P69905|HBA_HUMAN": "MVLSPADKTN", "tr|A0A024R161|X": "MKTAYIAKQR", "plain": "GG"}

READ = """
import json, sys
from pathlib import Path
from protspace.data.loaders.h5 import load_h5, parse_identifier
found = load_h5([Path(sys.argv[1])])
print(json.dumps({
    "name": found.name,
    "identifiers": [parse_identifier(header) for header in found.headers],
    "data": found.data.tolist(),
}))
"""


def environment(name):
    """The variables with which what was installed as `name` can be imported."""
    place = ENVIRONMENTS / name
    if not (place / "installed.txt").exists():
        said = ENVIRONMENTS / f"{name}.txt"
        pytest.skip(said.read_text().strip() if said.exists() else "`make clients` was not run")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return os.environ | {"PYTHONPATH": str(place / "lib" / version / "site-packages")}


@pytest.mark.parametrize("key", ["id", "accession"])
def test_protspace_opens_our_h5_with_names_and_numbers(tmp_path, key):
    variables = environment(PROTSPACE)
    fasta = "".join(f">{name} of a test\n{sequence}\n" for name, sequence in RECORDS.items())
    (tmp_path / "x.fasta").write_text(fasta)
    subprocess.run(
        [
            *(sys.executable, "-c", "from esm2.cli import main; main()"),
            *("embed", "x.fasta", "-o", "x.h5", "--h5-key", key, "--device", "cpu", "--quiet"),
        ],
        cwd=tmp_path,
        check=True,
    )
    run = subprocess.run(
        [sys.executable, "-c", READ, Path("x.h5")],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout)
    assert found["name"] == "esm2_demo"
    accessions = ["P69905", "A0A024R161", "plain"]
    assert sorted(found["identifiers"]) == sorted(accessions)
    with esm2.load("esm2-demo", device="cpu") as model:
        expected = dict(zip(accessions, model.embed(RECORDS.values()), strict=True))
    for name, row in zip(found["identifiers"], found["data"], strict=True):
        np.testing.assert_array_equal(np.float32(row), expected[name])
