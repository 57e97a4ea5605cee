"""How far a command has come: one line on a terminal, kept up to date; nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """What the line tells.

    Attributes:
        records, residues: done since the command began.
        part: of the whole input, 0..1; 0 where there is no telling.
    """

    records: int = 0
    residues: int = 0
    part: float = 0.0


@contextmanager
def shown(quiet: bool, began: float = 0.0) -> Iterator[Callable[[Progress], None]]:
    """What to call with each Progress.

    Args:
        quiet: show nothing.
        began: part of the input that was done before the command began.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress as Live
    from rich.progress import SpinnerColumn, TextColumn

    started = time.perf_counter()
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Live(*columns, console=Console(stderr=True), transient=True) as live:
        task = live.add_task("reading")

        def advance(done: Progress) -> None:
            live.update(task, description=_line(done, time.perf_counter() - started, began))

        yield advance


def _line(done: Progress, seconds: float, began: float) -> str:
    rate = done.residues / max(seconds, 1e-9)
    text = f"{done.records:,} records, {done.residues:,} residues, {rate:,.0f} residues/s"
    if done.part > began:
        left = seconds * (1 - done.part) / (done.part - began)
        text += f", {100 * done.part:.0f} %, {_duration(left)} left"
    return text


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"
