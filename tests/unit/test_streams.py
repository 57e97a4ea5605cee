"""Standard streams that are closed or full."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    "how", ["", ">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "| true"]
)
def test_a_program_can_do_without_its_streams(how):
    line = f'"$@" {how}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", line, "bash", sys.executable, "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    if not how:
        assert (done.stdout, done.stderr) == ("said\n", "also said\n")


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
    own = ["bash", "-c", line, "bash", sys.executable, "-m", "esm2", *command]
    done = subprocess.run(own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, told)


def test_what_is_told_never_comes_among_results():
    line = '"$@" 2>&-'
    own = ["bash", "-c", line, "bash", sys.executable, "-m", "esm2", "score", "M1A"]
    done = subprocess.run([*own, "--sequence", "MKT"], capture_output=True, text=True, check=True)
    assert [row.partition(",")[0] for row in done.stdout.splitlines()] == ["mutant", "M1A"]
