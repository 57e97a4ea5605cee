"""What every thread and every request of a server is doing: `kill -USR1 PID`, on standard error.

Places in code only, never values. faulthandler writes the threads, even of a process whose loop is
stuck; the loop, if it is not, writes its tasks and has the workers write their threads.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO


def dump_threads_on_signal() -> None:
    """Do so from now on, of the threads."""
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)


def dump_on_signal(tell: Callable[[], None]) -> None:
    """Do so from now on; called by the loop whose tasks are meant.

    Args:
        tell: has the workers do the same.
    """
    faulthandler.unregister(signal.SIGUSR1)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _tasks, sys.stderr, tell)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=True)


def _tasks(out: TextIO, tell: Callable[[], None]) -> None:
    tell()
    for task in asyncio.all_tasks():
        print(f"\nTask {task.get_name()} (most recent call first):", file=out)
        for frame in reversed([*_frames(task.get_coro())]):
            code = frame.f_code
            print(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}', file=out)
    out.flush()


def _frames(awaited: Any) -> Iterator[FrameType]:
    """Where a coroutine waits, and where that waits, and so on."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
