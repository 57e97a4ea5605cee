"""The Slurm scripts, line by line as Slurm runs them; what they start is then run here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli import warm
from tests.cli.interrupted import proteins

SCRIPTS = Path(__file__).parents[2] / "deploy" / "slurm"
PARTS = 3


@pytest.fixture
def job(tmp_path):
    """Run a script with an `srun` that notes its command: (exit status, the command)."""
    srun = tmp_path / "srun"
    srun.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/noted\nexit $STATUS\n')
    srun.chmod(0o755)
    (tmp_path / "x.fasta").write_bytes(b"".join(proteins(20)))

    def run(script: str, *arguments: str, status: int = 0, **variables: object):
        own = {name: str(value) for name, value in variables.items()} | {"STATUS": str(status)}
        done = subprocess.run(
            ["bash", SCRIPTS / f"{script}.sbatch", *arguments],
            cwd=tmp_path,
            env=own | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            check=False,
        )
        program, *words = (tmp_path / "noted").read_text().splitlines()
        assert program == "esm2"
        return done.returncode, words

    return run


def embedding(job, number: int, of: int, **more: object):
    variables = {"SLURM_ARRAY_TASK_ID": number, "SLURM_ARRAY_TASK_COUNT": of} | more
    return job("embed", "x.fasta", "parts", "esm2-demo", **variables)


def test_the_tasks_of_an_array_and_the_merging_make_the_file_of_one_machine(job, tmp_path):
    for number in range(1, PARTS + 1):
        _, words = embedding(job, number, PARTS)
        assert warm.run(tmp_path, *words).returncode in (0, 3)
    _, words = job("merge", "parts", "all.npz")
    assert warm.run(tmp_path, *words).returncode == 3
    whole = ("embed", "x.fasta", "-o", "one.npz", "--model", "esm2-demo")
    assert warm.run(tmp_path, *whole).returncode == 3
    for name in ("{}.npz", "{}.npz.rejects.fasta"):
        one, parts = (tmp_path / name.format(own) for own in ("one", "all"))
        assert parts.read_bytes() == one.read_bytes()


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (3, 0), (1, 1), (2, 2), (143, 143)])
def test_records_left_out_do_not_hold_up_the_merging_and_everything_else_does(job, status, ends):
    assert embedding(job, 1, 2, status=status)[0] == ends


def test_a_task_that_is_started_again_alone_is_told_of_how_many_it_is(job, tmp_path):
    _, words = embedding(job, 3, 1, SHARDS=16)
    assert words[-2:] == ["--shard", "3/16"]
    _, words = embedding(job, 3, 1)
    refused = warm.run(tmp_path, *words)
    assert (refused.returncode, "'3/1' is not like 3/16" in refused.stderr.decode()) == (2, True)
