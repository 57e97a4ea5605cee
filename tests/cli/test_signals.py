"""Signals that end a command, at moments that no test of a whole process can choose."""

import functools
import signal
import subprocess
import sys
import threading

import pytest

from esm2 import cli

PATIENCE = 20.0


class LockInterrupted:
    """A lock that is taken at the very moment a signal comes."""

    def __init__(self, number):
        lock = threading.Lock()
        self.acquire, self.release = lock.acquire, lock.release
        self.__class__ = type(
            "Lock",
            (LockInterrupted,),
            {
                "__enter__": functools.partial(signal.raise_signal, number),
                "__exit__": lambda *_: None,
            },
        )


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request, monkeypatch):
    before = {own: signal.getsignal(own) for own in (signal.SIGINT, signal.SIGALRM, *cli._ENDS)}
    monkeypatch.setattr(cli, "_ended_by", [])
    cli._end_as_by_ctrl_c()
    yield request.param
    for own, handler in before.items():
        signal.signal(own, handler)


def test_a_signal_that_comes_while_a_lock_changes_hands_interrupts_when_it_has(number):
    entered = []

    condition = threading.Condition(LockInterrupted(number))

    def wait():
        with condition:
            entered.append(True)
            assert not threading.Event().wait(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert entered == [True]


def test_ctrl_c_while_the_command_line_is_being_imported_ends_it_in_silence():
    code = (
        "import os, signal, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from esm2.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
