"""The child's side: load, answer a known question, then one batch after another.

It ends when its parent does, and at no signal that a terminal or a supervisor sends to the whole
group: those are for the parent, which finishes what was begun and then ends its children.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from esm2 import budget, garbage
from esm2.alphabet import tokenize
from esm2.errors import EngineError, Esm2Error, NotFinite
from esm2.types import Decided, Float, ForwardRequest, Outputs
from esm2.worker import Loaded, channel

# Any short sequence will do; this one has every natural amino acid once.
_KNOWN = tokenize("ACDEFGHIKLMNPQRSTVWY")
# Long enough to see the speed of the machine, and 5 seconds of the largest model on 2 cores.
_PACE = tokenize("ACDEFGHIKLMNPQRSTVWY" * 6)

# So that the kernel, when memory runs out, kills this process and not the server.
_OOM_SCORE = "800"

# What takes long leaves the CPUs to what goes ahead of it, and to the server that hands both out: a
# short request beside long ones is answered in two thirds of the time (docs/reliability.md).
_NICER = 5


def main() -> None:
    """Serve one engine until the parent closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Even while it computes: the places of all threads, on standard error.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _die_first()
    own, ahead = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    _until_the_end(partial(_serve, own, ahead))


def _until_the_end(serve: Callable[[], None]) -> NoReturn:
    """Serve, then end this process."""
    try:
        serve()
    except (EOFError, OSError):
        pass  # the parent closed, or is gone
    except Esm2Error as error:
        print(f"esm2: a process that computes ends: {error} [{error.code}]", file=sys.stderr)
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)  # at once: nothing is left to tidy up, and torch takes a second for it


def _serve(own: socket.socket, ahead: socket.socket) -> None:
    sys.path[:] = channel.receive(own, None)
    try:
        loaded = channel.receive(own, None)()
        hello = greeting(loaded)
    except Esm2Error as error:
        channel.send(own, error, None)
        return
    except Exception as error:  # its own, whatever it is; the parent is there and is told
        channel.send(own, EngineError(f"loading failed: {type(error).__name__}: {error}"), None)
        return
    channel.send(own, hello, None)
    if loaded.decided.gives_way:
        serve = partial(_answer, loaded, ahead, ahead=True)
        threading.Thread(target=_until_the_end, args=(serve,), daemon=True).start()
        os.nice(_NICER)  # this thread, and those that it starts
    _answer(loaded, own, ahead=False)


def _answer(loaded: Loaded, own: socket.socket, *, ahead: bool) -> None:
    while True:
        requests = channel.receive(own, None)
        given = answer(loaded, requests, ahead=ahead)
        channel.send(own, given, None)
        if is_fault(given):
            known_answer(loaded, ahead=ahead)
        del requests, given


def greeting(loaded: Loaded) -> tuple[Decided, Float, float]:
    """What a child says when it has loaded: (decided, known answer, work in a second)."""
    hello = loaded.decided, known_answer(loaded), _pace(loaded)
    garbage.spare_what_is_there()
    return hello


def answer(
    loaded: Loaded, requests: list[ForwardRequest], *, ahead: bool = False
) -> list[Outputs] | Esm2Error:
    """The outputs of a batch, or the error to which it came."""
    try:
        return loaded.run(requests, ahead=ahead)
    except Esm2Error as error:
        return error
    except Exception as error:
        return EngineError(f"the forward pass failed: {type(error).__name__}: {error}")


def is_fault(given: object) -> bool:
    """Whether an answer may be of a device that fails from now on.

    Then a known answer is to be asked for: a process that cannot give it is of no more use.
    """
    return isinstance(given, EngineError) and not isinstance(given, NotFinite)


def known_answer(loaded: Loaded, *, ahead: bool = False) -> Float:
    """The whole pass of a short sequence.

    Raises:
        Esm2Error: what the engine raised.
    """
    want = loaded.decided.whole_pass
    (outputs,) = loaded.run([ForwardRequest(_KNOWN, want)], ahead=ahead)
    assert outputs.of_whole_pass is not None
    return outputs.of_whole_pass


def _pace(loaded: Loaded) -> float:
    """Work done in a second, as `budget.work` counts it."""
    request = ForwardRequest(_PACE, loaded.decided.whole_pass)
    begun = time.monotonic()
    loaded.run([request])
    return budget.work(request, loaded.decided.shape) / max(1e-6, time.monotonic() - begun)


def _end_with_parent() -> None:
    """Standard input is a pipe of the parent's, on which nothing ever comes but its end."""
    os.read(0, 1)
    os._exit(0)


def _die_first() -> None:
    with contextlib.suppress(OSError):  # not Linux, or not allowed to
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


if __name__ == "__main__":
    main()
