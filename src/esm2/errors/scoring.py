"""What is wrong with variants and with the tables that they come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from esm2.errors.request import RequestError

_LONGEST_SHOWN = 40  # characters
_OFFSETS_SHOWN = 5


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


class InvalidVariant(RequestError):
    """A variant that cannot be read, or does not match the sequence.

    Attributes:
        variant: as written.
        reason: what is wrong with it, and what to do.
    """

    code = "request.invalid_variant"

    def __init__(self, variant: str, reason: str) -> None:
        self.variant = variant
        self.reason = reason
        super().__init__(f"variant {_shown(variant)}: {reason}")


class OffsetNotFound(RequestError):
    """The numbering of variants does not tell where the sequence begins.

    Attributes:
        fitting: offsets with which every variant matches: none, several, or one that few
            positions speak for.
        best: the offset with which the most do.
        matching, total: variants that match with `best`, of all.
    """

    code = "request.offset_not_found"

    def __init__(
        self, fitting: Sequence[int], best: int, matching: int, total: int, unfit: Sequence[str]
    ) -> None:
        self.fitting = tuple(fitting)
        self.best = best
        self.matching = matching
        self.total = total
        if not fitting:
            names = ", ".join(map(_shown, unfit))
            sentence = (
                "no offset makes every variant match the sequence; at best"
                f" {matching:,} of {total:,} do, with offset {best}; the first that do not: {names}"
            )
        elif len(fitting) == 1:
            sentence = (
                "as written the variants do not match the sequence; they do with offset"
                f" {fitting[0]}, but so few positions may do so by chance; give that offset if it"
                " is right"
            )
        else:
            offsets = ", ".join(map(str, fitting[:_OFFSETS_SHOWN]))
            more = " and others" if len(fitting) > _OFFSETS_SHOWN else ""
            sentence = (
                "as written the variants do not match the sequence; they do with each of the"
                f" offsets {offsets}{more}; give the right one"
            )
        super().__init__(sentence)


class InvalidTable(RequestError):
    """A CSV file that cannot be read as a table of variants.

    Attributes:
        source: name of the file.
        line: 1-based line where the trouble is.
    """

    code = "request.invalid_table"

    def __init__(self, source: str, line: int, reason: str) -> None:
        self.source = source
        self.line = line
        self.reason = reason
        super().__init__(f"{source}, line {line}: {reason}")


class TooManySubstitutions(RequestError):
    """More substitutions in one item of a request than a server reads."""

    code = "request.too_many_substitutions"

    def __init__(self, count: int, limit: int) -> None:
        self.count = count
        self.limit = limit
        super().__init__(
            f"the variants have {count} substitutions, the limit is {limit}; send several requests"
        )


class TooMuchWork(RequestError):
    """A request that can never fit into the queue of a server.

    Attributes:
        needed, limit: what it needs, and the most there may be.
        unit: of both.

    Args:
        advice: how to ask for less.
    """

    code = "request.too_much_work"

    def __init__(
        self,
        needed: int,
        limit: int,
        unit: Literal["tokens", "forward passes"],
        advice: str = "send fewer sequences in a request",
    ) -> None:
        self.needed = needed
        self.limit = limit
        self.unit = unit
        super().__init__(
            f"the request needs {needed} {unit}, more than the {limit} that may wait here; {advice}"
        )
