"""Programs of the field that read the files of `esm2 embed`: the real ones, as they are published.

They are installed without their dependencies, and run on those of this environment.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import esm2
from tests.clients.roster import ENVIRONMENTS
from tests.storing import META, row, run, write

PROTSPACE = "protspace-4.8.2"
ANNDATA = "anndata-0.12.19"
ROOT = Path(__file__).parents[2]
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
    for name, vector in zip(found["identifiers"], found["data"], strict=True):
        np.testing.assert_array_equal(np.float32(vector), expected[name])


READ_H5AD = """
import json, sys
import anndata
cells = anndata.read_h5ad(sys.argv[1])
cells.write_h5ad("again.h5ad")
again = anndata.read_h5ad("again.h5ad")
assert (again.X == cells.X).all() and list(again.obs_names) == list(cells.obs_names)
about = cells.uns["esm2"]
print(json.dumps({
    "names": list(cells.obs_names),
    "columns": list(cells.obs.columns),
    "length": cells.obs["length"].tolist(),
    "description": cells.obs["description"].tolist(),
    "original_id": cells.obs["original_id"].tolist(),
    "region": cells.obs["region"].tolist(),
    "variables": list(cells.var_names)[:2],
    "X": cells.X.tolist(),
    "other": cells.obsm["max_6"].tolist(),
    "about": {name: own if isinstance(own, str) else own.tolist() for name, own in about.items()},
}))
"""


def read_by(name, code, directory, *arguments):
    """What a program prints, in an environment in which any warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=directory,
        env=environment(name),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_anndata_reads_our_h5ad_without_a_warning_and_writes_it_again(tmp_path):
    of = run(".h5ad", include=("mean", "max"), region="1-2", layers=(6,))
    made = [row(of, name, 5, i, used=2, region="1-2") for i, name in enumerate("aba")]
    write(tmp_path / "x.h5ad", of, made)
    found = read_by(ANNDATA, READ_H5AD, tmp_path, "x.h5ad")
    assert found["names"] == ["a", "b", "a#2"]
    assert found["original_id"] == ["a", "b", "a"]
    assert found["columns"] == [
        *("original_id", "description", "length", "used", "region", "sequence_sha256")
    ]
    assert found["length"] == [5] * 3
    assert found["region"] == ["1-2"] * 3
    assert found["description"] == [own.record.header for own in made]
    assert found["variables"] == ["e0", "e1"]
    assert found["about"] == {**META, "X": "mean_6"}
    np.testing.assert_array_equal(found["X"], [own.outputs.mean[6] for own in made])
    np.testing.assert_array_equal(found["other"], [own.outputs.max[6] for own in made])


def test_anndata_runs_the_lines_of_the_page_on_embedding(tmp_path):
    page = (ROOT / "docs/embedding.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for suffix in (".npz", ".h5ad"):
        of = run(suffix)
        made = [row(of, name, 3) for name in "ab"]
        write(tmp_path / f"proteins{suffix}", of, made)
    code = f"""
import json
import anndata, numpy, pandas
{block}
x.close()
print(json.dumps([[list(own.index), own.to_numpy().tolist()] for own in (frame, cells.to_df())]))
"""
    for names, vectors in read_by(ANNDATA, code, tmp_path):
        assert names == ["a", "b"]
        np.testing.assert_array_equal(vectors, [own.outputs.mean[6] for own in made])
