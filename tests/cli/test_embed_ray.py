"""`esm2 embed --ray`: machines of a cluster compute, and the file is that of this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.cli.interrupted import MAIN, Process, entries, proteins
from tests.cli.warm import ENVIRONMENT, run
from tests.storing import names

RECORDS = proteins(60)
FASTA = b"".join(RECORDS)
COMMAND = ("embed", "-", "-o", "x.npz", "--include", "mean,per-token")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What a run without Ray writes."""
    directory = tmp_path_factory.mktemp("here")
    run(directory, *COMMAND, stdin=FASTA)
    return contents(directory)


@pytest.fixture(scope="module")
def environment(ray_cluster):
    return ENVIRONMENT | {"RAY_AUTH_MODE": os.environ["RAY_AUTH_MODE"]}


def contents(directory):
    return {name: (directory / name).read_bytes() for name in ("x.npz", "x.npz.rejects.fasta")}


def test_two_machines_write_every_byte_of_one_with_its_rejects(
    here, ray_cluster, environment, tmp_path
):
    done = run(tmp_path, *COMMAND, "--ray", ray_cluster, stdin=FASTA, environment=environment)
    assert done.returncode == 3
    assert "esm2-demo on 2 x cpu, float32" in done.stderr.decode().splitlines()[-1]
    assert contents(tmp_path) == here


def test_a_driver_that_is_killed_in_mid_job_is_gone_on_with_there_or_here(
    here, ray_cluster, environment, tmp_path
):
    journal = tmp_path / "x.npz.part" / "journal.jsonl"
    ray = ("--ray", ray_cluster)
    with Process(tmp_path, *COMMAND, *ray, RAY_AUTH_MODE="disabled") as process:
        process.feed(RECORDS, journal, 20)
        assert process.stop(signal.SIGKILL).status == -signal.SIGKILL
    assert 20 <= entries(journal) < len(RECORDS)
    assert names(tmp_path) == ["x.npz.part"]
    done = run(tmp_path, *COMMAND, stdin=FASTA)
    assert done.returncode == 3
    assert done.stderr.startswith(b"going on after ")
    assert contents(tmp_path) == here


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--ray", "127.0.0.1:1"), "there is no Ray cluster at '127.0.0.1:1': "),
        (("--ray", "here"), "write HOST:PORT, ray://HOST:PORT, auto or local"),
        (("--ray", "local", "--url", "http://127.0.0.1:1"), "either a server computes, or a"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_in_a_sentence(
    environment, tmp_path, options, sentence
):
    done = run(tmp_path, *COMMAND, *options, stdin=FASTA, environment=environment)
    assert done.returncode != 0
    assert sentence in " ".join(done.stderr.decode().replace("│", " ").split())
    assert b"Traceback" not in done.stderr
    assert names(tmp_path) == []


def test_without_ray_the_command_that_installs_it_is_told(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-c", f"import sys; sys.modules['ray'] = None; {MAIN}"),
            *(*COMMAND, "--ray", "local"),
        ],
        cwd=tmp_path,
        input=FASTA,
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
    )
    line = "esm2: this needs ray: pip install 'ray[serve]>=2.50' [settings.missing_extra]\n"
    assert done.stderr.decode() == line
    assert done.returncode == 1
    assert names(tmp_path) == []
