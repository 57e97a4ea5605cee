"""Standard streams that are closed or full."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
