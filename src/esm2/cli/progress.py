"""How far a command has come: a line that is kept up to date on a terminal, or one every 30 s."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from esm2.cli.options import say

if TYPE_CHECKING:
    from esm2.files.fasta import Position

#: The line, of the seconds since the command began.
Line = Callable[[float], str]

_EVERY = 30.0  # seconds between two lines, where there is no terminal


@dataclass(slots=True)
class Embedding:
    """What `esm2 embed` has done.

    Attributes:
        position: in the input.
        began: bytes of the input that were done before the command began.
        records, residues: done since then.
    """

    position: Position
    began: int
    records: int = 0
    residues: int = 0

    def line(self, seconds: float) -> str:
        rate = self.residues / max(seconds, 1e-9)
        counts = f"{self.records:,} records, {self.residues:,} residues, {rate:,.0f} residues/s"
        return counts + _read(self.position, self.began, seconds)


@dataclass(slots=True)
class Passes:
    """Forward passes that are done.

    Attributes:
        total: how many there will be, if that is known.
        position: in the input, if that is what there is to know.
    """

    total: int | None = None
    position: Position | None = None
    done: int = 0

    def line(self, seconds: float) -> str:
        if self.total:
            left = _left(seconds, self.done / self.total)
            return f"{self.done:,} of {self.total:,} passes{left}"
        read = _read(self.position, 0, seconds) if self.position else ""
        return f"{self.done:,} passes{read}"


@contextmanager
def shown(
    quiet: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Line], None]]:
    """What to call whenever something more is done.

    Args:
        quiet: show nothing.
        clock: seconds.
    """
    started = clock()
    if quiet:
        yield lambda _: None
    elif not sys.stderr.isatty():
        yield _now_and_then(started, clock)
    else:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=Console(stderr=True), transient=True) as live:
            task = live.add_task("reading")
            yield lambda line: live.update(task, description=line(clock() - started))


def _now_and_then(started: float, clock: Callable[[], float]) -> Callable[[Line], None]:
    due = started + _EVERY

    def advance(line: Line) -> None:
        nonlocal due
        now = clock()
        if now >= due:
            due = now + _EVERY
            say(line(now - started))

    return advance


def _read(position: Position, began: int, seconds: float) -> str:
    """How much of the input is read, where its size is known."""
    if not position.total:
        return ""
    done, total = position.done, position.total
    share = (done - began) / max(total - began, 1)
    text = f", {done / 1e6:,.1f} of {total / 1e6:,.1f} MB, {100 * done / total:.0f} %"
    return text + (_left(seconds, share, percent=False) if share > 0 else "")


def _left(seconds: float, share: float, *, percent: bool = True) -> str:
    left = f", {_duration(seconds * (1 - share) / share)} left"
    return (f", {100 * share:.0f} %" if percent else "") + left


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"
