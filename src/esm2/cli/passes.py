"""The model of a command, and its forward passes with a line about how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from esm2.cli import progress
from esm2.cli.options import say

if TYPE_CHECKING:
    from esm2.files.fasta import Position
    from esm2.runtime import Served
    from esm2.science.marginals import Work
    from esm2.types import Decided, ForwardRequest, Outputs

    Forward = Callable[[Iterator[ForwardRequest]], Iterator[Outputs]]

Result = TypeVar("Result")

# Packs' worth of passes in flight: the engine always finds a full pack waiting.
_PACKS_IN_FLIGHT = 8


def opened(model: str, device: str, dtype: str) -> AbstractContextManager[Served]:
    """The model in this process; what is fetched is told on standard error."""
    from esm2.loading import spec
    from esm2.runtime import open_model

    return open_model(spec(model), device=device, dtype=dtype, on_fetch=say)


def opened_on_ray(
    address: str, model: str, device: str, dtype: str
) -> AbstractContextManager[Served]:
    """The model on every device of a Ray cluster; where that is, is told on standard error."""
    from esm2.loading import spec
    from esm2.runtime import open_on_ray

    return open_on_ray(address, spec(model), device=device, dtype=dtype, say=say)


def done(work: Work[Result], served: Served, quiet: bool) -> Result:
    """The result of some passes."""
    with forwarding(served, quiet, work.passes) as forward:
        return work.read(forward(work.requests()))


@contextmanager
def forwarding(
    served: Served, quiet: bool, passes: int | None = None, position: Position | None = None
) -> Iterator[Forward]:
    """A stream of passes through a model.

    Args:
        passes: how many there will be, where that is known.
        position: in the input, where that is.
    """
    from esm2 import stream
    from esm2.types import Want

    served.decided.check(Want(logits=True))  # scores are made of nothing else
    in_flight = _PACKS_IN_FLIGHT * served.decided.pack_tokens
    done = progress.Passes(passes, position)
    with progress.shown(quiet) as advance:

        def forward(requests: Iterator[ForwardRequest]) -> Iterator[Outputs]:
            for outputs in stream.run(requests, served.submit, in_flight_tokens=in_flight):
                done.done += 1
                advance(done.line)
                yield outputs

        yield forward


def by(decided: Decided) -> str:
    """By whom numbers were made, and what has to be said of them."""
    caveat = f"; {decided.caveat}" if decided.caveat else ""
    return f"{decided.slug} on {decided.device}, {decided.dtype}{caveat}"
