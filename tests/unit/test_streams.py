"""Standard streams that are closed or full."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from esm2.cli import main; main()"]
FULL = "esm2: cannot write -: No space left on device [file.failed]\n"
CLOSED = "esm2: cannot write -: standard output is closed [file.failed]\n"

ASK = """
import os, socket, sys
from esm2.cli.streams import tell, usable

with usable():
    tell("said")
    print("also said", file=sys.stderr)
    own = socket.socket()
    assert own.fileno() > 2
    assert os.get_inheritable(1) and os.get_inheritable(2)
"""


def run(how, *words, directory=None):
    line = f'"$@" {how}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", line, "bash", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)


@pytest.mark.parametrize(
    "how", ["", ">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "| true"]
)
def test_a_program_can_do_without_its_streams(how):
    done = run(how, sys.executable, "-c", ASK)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    if not how:
        assert (done.stdout, done.stderr) == ("said\n", "also said\n")


@pytest.mark.parametrize(
    ("how", "words", "status"),
    [
        ("2>&-", ["embed", "x.fasta", "-o", "x.npz"], 0),
        ("<&- 2>&-", ["pll", "x.fasta", "-o", "x.csv"], 0),
        ("2>/dev/full", ["pll"], 2),
        ("2>/dev/full", ["models"], 0),
    ],
)
def test_a_command_does_its_work_though_nobody_can_be_told(tmp_path, how, words, status):
    (tmp_path / "x.fasta").write_text(">a\nMKT\n")
    assert run(how, *COMMAND, *words, directory=tmp_path).returncode == status
    assert "-o" not in words or (tmp_path / words[-1]).stat().st_size > 30


def test_what_is_told_never_gets_among_the_results():
    assert run("2>&-", *COMMAND, "models").stdout == run("", *COMMAND, "models").stdout


@pytest.mark.parametrize(
    ("command", "how", "told"),
    [
        (["--version"], ">&-", CLOSED),
        (["models", "--help"], ">/dev/full", FULL),
        (["token", "list", "--database", "sqlite://"], ">/dev/full", FULL),
        (["fill-mask", "--sequence", "M<mask>T"], ">&-", CLOSED),
        (["fill-mask", "--sequence", "M<mask>T"], ">/dev/full", FULL),
        (["fill-mask", "--sequence", "M<mask>T"], "| true", ""),
        (["pll", "-"], ">&-", CLOSED),
        (["pll", "-"], "| true", ""),
        (["embed", "-", "-o", "-"], ">&-", CLOSED),
    ],
)
def test_a_command_whose_results_cannot_be_written_ends(command, how, told):
    line = f'printf ">p\nMKT\n" | "$@" {how}; exit ${{PIPESTATUS[1]}}'
    own = ["bash", "-c", line, "bash", *COMMAND, *command]
    done = subprocess.run(own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, told)
