"""A progress bar on standard error, for who asks for one in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """What to call with the count of sequences that were done since; it may show nothing."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as live:
        task = live.add_task("computing", total=total)
        yield lambda count: live.advance(task, count)
