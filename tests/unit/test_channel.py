"""What goes between a server and its worker, where one of them is cut off."""

from __future__ import annotations

import subprocess
import sys

# The error is kept by its own traceback, as that of a batch is; so the garbage collector finds it.
CUT_OFF = """
import gc, socket, struct
from esm2.worker import channel

def cut_off():
    ours, theirs = socket.socketpair()
    theirs.sendall(struct.pack("<IQQ", 2, 10, 100_000) + bytes(20))
    theirs.close()
    try:
        channel.receive(ours, None)
    except EOFError as error:
        kept = error
    ours.close()

for _ in range(20):
    cut_off()
    gc.collect()
print("alive")
"""


def test_a_process_survives_that_another_dies_in_the_middle_of_its_answer():
    run = subprocess.run(
        [sys.executable, "-c", CUT_OFF], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "alive\n", "")
