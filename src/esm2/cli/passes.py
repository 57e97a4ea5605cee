"""The model of a command, and its forward passes with a line about them on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from esm2.cli.options import say

if TYPE_CHECKING:
    from esm2.marginals import Work
    from esm2.runtime import Served
    from esm2.types import Decided, ForwardRequest, Outputs

    Forward = Callable[[Iterator[ForwardRequest]], Iterator[Outputs]]

Result = TypeVar("Result")

# Packs' worth of passes in flight: the engine always finds a full pack waiting.
_PACKS_IN_FLIGHT = 8


def opened(model: str, device: str, dtype: str) -> AbstractContextManager[Served]:
    """The model in this process; what is fetched is told on standard error."""
    from esm2.local import spec
    from esm2.runtime import open_model

    return open_model(spec(model), device=device, dtype=dtype, on_fetch=say)


def done(work: Work[Result], served: Served, quiet: bool) -> Result:
    """The result of some passes."""
    with forwarding(served, quiet, work.passes) as forward:
        return work.read(forward(work.requests()))


@contextmanager
def forwarding(served: Served, quiet: bool, passes: int | None = None) -> Iterator[Forward]:
    """A stream of passes through a model.

    Args:
        passes: how many there will be, where that is known.
    """
    from esm2 import stream
    from esm2.types import Want

    served.decided.check(Want(logits=True))  # scores are made of nothing else
    in_flight = _PACKS_IN_FLIGHT * served.decided.pack_tokens
    with _progress(quiet, passes) as advance:

        def forward(requests: Iterator[ForwardRequest]) -> Iterator[Outputs]:
            for outputs in stream.run(requests, served.submit, in_flight_tokens=in_flight):
                advance()
                yield outputs

        yield forward


@contextmanager
def _progress(quiet: bool, passes: int | None) -> Iterator[Callable[[], None]]:
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    counts = (
        "{task.completed:,} of {task.total:,} passes" if passes else "{task.completed:,} passes"
    )
    columns = [TextColumn(counts), *([BarColumn(), Remaining()] if passes else [])]
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as live:
        task = live.add_task("", total=passes)
        yield lambda: live.advance(task)


def by(decided: Decided) -> str:
    """By whom numbers were made, and what has to be said of them."""
    caveat = f"; {decided.caveat}" if decided.caveat else ""
    return f"{decided.slug} on {decided.device}, {decided.dtype}{caveat}"
