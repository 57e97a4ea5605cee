"""Files by any name, and where a record is in them."""

from __future__ import annotations

import os
from pathlib import Path

import pandas
import pytest
import safetensors

from esm2 import files
from tests.cli import warm


@pytest.mark.parametrize("suffix", files.FORMATS)
def test_files_may_have_names_that_are_not_utf_8(tmp_path, suffix):
    own, table, regions = (os.fsdecode(name) for name in (b"a\xff.fa", b"b\xff.pq", b"\xff.tsv"))
    (tmp_path / own).write_bytes(b">a\nMKT\n>b\nMKT\n")
    pandas.DataFrame({"id": ["a", "c"], "sequence": ["MKT"] * 2}).to_parquet(tmp_path / "b")
    (tmp_path / "b").rename(tmp_path / table)
    (tmp_path / regions).write_text("a\t1\t2\n")
    output = tmp_path / os.fsdecode(b"\xff" + suffix.encode())
    done = warm.run_text(tmp_path, "embed", own, table, "--region", regions, "-o", output.name)
    assert done.returncode == 3, done.stderr
    reason = r"there is no region for it in \udcff.tsv"
    assert done.stderr.splitlines()[:2] == [
        rf"a\udcff.fa, line 3, record b: {reason}",
        rf"b\udcff.pq, row 2, record c: {reason}",
    ]
    rejects = Path(f"{output}.rejects.fasta").read_text(encoding="utf-8").splitlines()
    assert rejects[::2] == [
        rf">b [a\udcff.fa, line 3: {reason}]",
        rf">c [b\udcff.pq, row 2: {reason}]",
    ]
    if files.FORMATS[suffix].reads:
        assert [ids for ids, _ in files.read(output).blocks(9)] == [["a", "a"]]
    if suffix == ".safetensors":
        with safetensors.safe_open(output, "np") as file:
            assert file.metadata()["source"] == r"a\udcff.fa, b\udcff.pq"


def test_a_record_of_a_table_is_in_a_row(tmp_path):
    columns = {"id": ["a", "b", "c"], "sequence": ["MKT", "M", "MK1"]}
    pandas.DataFrame(columns).to_parquet(tmp_path / "x")
    embed = ("embed", "x", "-o", "x.npz", "--strict", "--max-residues")
    done = warm.run_text(tmp_path, *embed, "9")
    assert "esm2: x, row 3, record c: residue 3 is '1'" in done.stderr
    columns["sequence"][1] = "K"
    pandas.DataFrame(columns).to_parquet(tmp_path / "x")
    done = warm.run_text(tmp_path, *embed, "9")
    assert "record 2 of the input was 'b' (row 2), and is 'b' (row 2) or has" in done.stderr
    done = warm.run_text(tmp_path, "contacts", "x", "-o", "x.csv")
    assert "esm2: x, row 2: a second record" in done.stderr
