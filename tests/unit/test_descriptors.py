"""How many connections fit below the limit of open files, and how those that do not are told of."""

from __future__ import annotations

import subprocess
import sys

import pytest

from esm2.cli.descriptors import Refused

ASK = "from esm2.cli.descriptors import connections; print(connections(1000))"


@pytest.mark.parametrize(
    ("limits", "low", "high"),
    [
        ("ulimit -n 4096", 1000, 1000),
        ("ulimit -Sn 64; ulimit -Hn 4096", 1000, 1000),  # the soft limit is raised
        ("ulimit -n 128", 64, 88),
        ("ulimit -n 32", 1, 1),
    ],
)
def test_there_are_fewer_connections_than_files_may_be_open(limits, low, high):
    command = ["bash", "-c", f'{limits}; exec "$@"', "bash", sys.executable, "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert low <= int(done.stdout) <= high


def test_refused_connections_are_counted_and_told_once_a_minute(caplog):
    seconds = 0.0
    refused = Refused(7, lambda: seconds)
    for _ in range(100):
        refused.one_more()
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "closed at once: 1 connections"
    ]
    seconds = 60.0
    refused.one_more()
    assert "closed at once: 100 connections; there may be 7" in caplog.text
    assert len(caplog.records) == 2
