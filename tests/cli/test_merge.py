"""A run that several machines share out, and its parts made one file again.

The reference is what one machine writes: the merged file has the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import sys
import zipfile

import numpy as np
import pytest

from esm2.cli import main
from tests.cli.interrupted import Done, Process, proteins
from tests.storing import names

RECORDS = proteins(50)
FASTA = b"".join(RECORDS)
PARTS = 3


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A directory with the input and its three parts: mean and residues of two layers."""
    directory = tmp_path_factory.mktemp("parts")
    (directory / "x.fasta").write_bytes(FASTA)
    for number in range(1, PARTS + 1):
        done = run(directory, "embed", "x.fasta", *MANY, "-o", "p.npz", "--shard", f"{number}/3")
        assert done.status in (0, 3)
    return directory


MANY = ("--include", "mean,per-token", "--layers", "0,-1")


def run(directory, *arguments, stdin: bytes = b"") -> Done:
    """The command in this process, as if it were started in a directory."""
    told = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(directory),
        contextlib.redirect_stderr(told),
    ):
        patch.setattr(sys, "argv", ["esm2", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), b"", told.getvalue().splitlines())


def part(number: int) -> str:
    return f"p.{number}-of-3.npz"


def refusal(directory, *arguments) -> str:
    """What is told when nothing is written."""
    done = run(directory, "merge", *arguments, "-o", "refused.npz")
    assert done.status == 1
    assert not {"refused.npz", "refused.npz.part"} & set(names(directory))
    return done.told[-1]


def test_parts_are_named_for_what_they_are(parts):
    assert {part(number) for number in (1, 2, 3)} <= set(names(parts))
    content = np.load(parts / part(3))
    records = [record.split()[0][1:].decode() for record in RECORDS[2::3]]
    rejected = (parts / f"{part(3)}.rejects.fasta").read_text().count(">")
    assert len(content["ids"]) == len(records) - rejected
    assert set(content["ids"]) <= set(records)
    assert json.loads(str(content["meta"]))["shard"] == "3/3"


def test_the_merged_file_and_its_rejects_have_the_bytes_of_a_whole_run(parts):
    whole = run(parts, "embed", "x.fasta", *MANY, "-o", "whole.npz")
    merged = run(parts, "merge", part(3), part(1), part(2), "-o", "merged.npz")
    assert whole.status == merged.status == 3  # some are rejected
    for ending in ("npz", "npz.rejects.fasta"):
        same = (parts / f"whole.{ending}").read_bytes()
        assert (parts / f"merged.{ending}").read_bytes() == same


@pytest.mark.parametrize("ending", ["h5", "parquet", "csv", "jsonl", "safetensors"])
def test_parts_become_a_file_of_any_format(tmp_path, ending):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    for number in (1, 2):
        run(tmp_path, "embed", "x.fasta", "-o", "p.npz", "--shard", f"{number}/2")
    run(tmp_path, "embed", "x.fasta", "-o", f"whole.{ending}")
    run(tmp_path, "merge", "p.1-of-2.npz", "p.2-of-2.npz", "-o", f"merged.{ending}")
    merged = (tmp_path / f"merged.{ending}").read_bytes()
    assert merged == (tmp_path / f"whole.{ending}").read_bytes()


def test_datasets_of_an_h5_can_be_named_as_for_a_whole_run(tmp_path):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    run(tmp_path, "embed", "x.fasta", "-o", "p.npz", "--shard", "1/1")
    for keys in ("hash", "biotrainer"):
        run(tmp_path, "embed", "x.fasta", "-o", "whole.h5", "--h5-key", keys)
        run(tmp_path, "merge", "p.1-of-1.npz", "-o", "merged.h5", "--h5-key", keys)
        merged = (tmp_path / "merged.h5").read_bytes()
        assert merged == (tmp_path / "whole.h5").read_bytes()


def test_more_parts_than_records_are_merged_too(tmp_path):
    (tmp_path / "x.fasta").write_bytes(b">a\nMKT\n>b\nMKV\n")
    for number in range(1, 5):
        done = run(tmp_path, "embed", "x.fasta", "-o", "p.npz", "--shard", f"{number}/4")
        assert done.status == 0
    assert len(np.load(tmp_path / "p.4-of-4.npz")["ids"]) == 0
    all_parts = [f"p.{number}-of-4.npz" for number in (4, 3, 2, 1)]
    assert run(tmp_path, "merge", *all_parts, "-o", "x.npz").status == 0
    assert list(np.load(tmp_path / "x.npz")["ids"]) == ["a", "b"]


def test_of_rejects_alone_there_is_no_merged_file(tmp_path):
    (tmp_path / "x.fasta").write_bytes(b">a\nMKt\n>b\nmk\n")
    for number in (1, 2):
        run(tmp_path, "embed", "x.fasta", "-o", "p.npz", "--shard", f"{number}/2")
    run(tmp_path, "embed", "x.fasta", "-o", "whole.npz")
    done = run(tmp_path, "merge", "p.1-of-2.npz", "p.2-of-2.npz", "-o", "x.npz")
    assert done.status == 1
    assert "no record of the parts could be embedded (2 rejected, see x.npz.rej" in done.told[-1]
    assert [name for name in names(tmp_path) if name.startswith("x.npz")] == ["x.npz.rejects.fasta"]
    rejects = (tmp_path / "x.npz.rejects.fasta").read_bytes()
    assert rejects == (tmp_path / "whole.npz.rejects.fasta").read_bytes()


def test_a_part_that_was_interrupted_goes_on(parts, tmp_path):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    shard = ("-o", "p.npz", "--shard", "2/3", *MANY)
    with Process(tmp_path, "embed", "-", *shard) as process:
        process.feed(RECORDS, tmp_path / f"{part(2)}.part" / "journal.jsonl", until=5)
        process.stop(signal.SIGKILL)
    done = run(tmp_path, "embed", "-", *shard, stdin=FASTA)
    assert any("going on after" in line for line in done.told)
    one, other = (zipfile.ZipFile(d / part(2)) for d in (parts, tmp_path))
    for name in set(one.namelist()) - {"meta.npy"}:  # which names the input
        assert one.read(name) == other.read(name), name
    meta = [json.loads(str(np.load(d / part(2))["meta"])) for d in (parts, tmp_path)]
    assert meta[0] == meta[1] | {"source": "x.fasta"}


# --- refusals ----------------------------------------------------------------------------------


def test_missing_and_doubled_parts_are_named(parts):
    said = refusal(parts, part(1), part(3))
    assert "of its 3 parts, there is no 2" in said
    said = refusal(parts, part(1), part(2), part(1))
    assert re.search(r"p\.1-of-3\.npz: it is part 1, as p\.1-of-3\.npz is", said)


def test_parts_of_another_run_or_of_another_input_are_named(parts, tmp_path):
    (tmp_path / "x.fasta").write_bytes(FASTA)
    other = ("-o", "p.npz", "--shard", "3/3")
    run(tmp_path, "embed", "x.fasta", *other, "--layers", "1", "--include", "mean,per-token")
    said = refusal(parts, part(1), part(2), tmp_path / part(3))
    assert "it is not of the run of p.1-of-3.npz: layers was 0,6 and is 1" in said
    changed = b"".join([b">new\nMKT\n", *RECORDS[1:]])
    run(tmp_path, "embed", "-", *other, *MANY, "--force", stdin=changed)
    said = refusal(parts, part(1), part(2), tmp_path / part(3))
    assert "its input was another than that of p.1-of-3.npz" in said


@pytest.mark.parametrize("array", ["embeddings", "per_token_embeddings", "journal"])
@pytest.mark.parametrize("place", [0.5, 1.0])
def test_a_damaged_part_is_named_and_nothing_is_written(parts, tmp_path, array, place):
    content = bytearray((parts / part(2)).read_bytes())
    with zipfile.ZipFile(parts / part(2)) as archive:
        member = archive.read(f"{array}.npy")
    content[content.index(member) + int(place * (len(member) - 1))] ^= 1
    (tmp_path / part(2)).write_bytes(content)
    said = refusal(parts, part(1), tmp_path / part(2), part(3))
    assert part(2) in said
    assert "damaged" in said


def test_what_is_no_part_is_named(parts):
    run(parts, "embed", "x.fasta", "-o", "no-part.npz")
    for name in ("no-part.npz", "x.fasta"):
        reason = "it is damaged, or no part that `esm2 embed --shard` wrote"
        assert f"{name}: {reason}" in refusal(parts, name)
    assert "cannot read missing.npz" in refusal(parts, "missing.npz")


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/", "x/3", "-1/3", "1/3/4"])
def test_a_shard_that_cannot_be_is_refused(parts, shard):
    done = run(parts, "embed", "x.fasta", "-o", "y.npz", "--shard", shard)
    assert done.status == 2
    assert "is not like 3/16, the third of sixteen; I is 1 to N" in done.told[-1]


def test_a_part_is_an_npz(parts):
    done = run(parts, "embed", "x.fasta", "-o", "y.h5", "--shard", "1/3")
    assert done.status == 2
    assert "a part is an .npz" in done.told[-1]


def test_the_output_may_not_be_a_part(parts):
    done = run(parts, "merge", part(1), part(2), part(3), "-o", part(2))
    assert done.status == 2
    assert "is one of the parts" in done.told[-1]
