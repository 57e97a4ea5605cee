"""The options that several commands share, each declared once, and the model they name."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from esm2.catalog import DEMO_SLUG
from esm2.errors import Esm2Error, InvalidSequence, SequenceTooLong

if TYPE_CHECKING:
    from esm2.local import Model

ModelName = Annotated[
    str, typer.Option("--model", metavar="SLUG[=PATH]", help="Model, see `esm2 models`.")
]
Device = Annotated[str, typer.Option(help="auto (cuda when there is one), cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="float32 (auto), bfloat16, int8 (CPU), float16 (CUDA).")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Tell only what went wrong.")]
MaxResidues = Annotated[
    int, typer.Option(min=1, help="Longer records are refused; none is ever truncated in silence.")
]

Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first record that is refused.")]
Upper = Annotated[bool, typer.Option("--upper", help="Read residues in lower case as upper case.")]

Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there already.")]

#: What may name a dataset; `files/hdf5.py` says how.
H5Key = Literal["id", "accession", "hash", "biotrainer"]

#: What an argument takes that is several files.
FASTA = "FASTA files, Parquet tables with columns id and sequence, or - for standard input."

DEFAULT_MODEL = DEMO_SLUG
LONGEST = 2048
_MOST = 1000  # of a range
#: The exit status where something was written, and records were left out.
LEFT_OUT = 3


def say(text: str) -> None:
    """One line to standard error; work is not lost because nobody reads it any more."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def sentence(error: Esm2Error) -> str:
    """What is wrong, with the flag that is to be changed."""
    text = str(error)
    if isinstance(error, SequenceTooLong):
        # A server's refusal is its sentence alone.
        whose = "" if hasattr(error, "limit") else " on the server"
        return text.replace("raise max_residues", f"raise --max-residues{whose}")
    if isinstance(error, InvalidSequence) and getattr(error, "letter", "").islower():
        return f"{text}, or pass --upper"
    return text


def source(fasta: Sequence[str]) -> str:
    """What several inputs are called together."""
    if fasta.count("-") > 1:
        raise typer.BadParameter("standard input (-) can be read once", param_hint="FASTA")
    return ", ".join(fasta)


def shown(text: str) -> str:
    """A name for a terminal: a file must not be able to move the cursor."""
    return text if text.isprintable() else ascii(text)


def counted(number: int, noun: str) -> str:
    """`1 record`, `1,234 records`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def words(values: Sequence[str]) -> Iterator[str]:
    """`--x a,b --x c` -> a, b, c."""
    for value in values:
        yield from (word.strip() for word in value.split(","))


def indices(values: Sequence[str], option: str) -> list[int]:
    """Numbers such as `-1`, or ranges such as `1-4` or `-4--1`, both ends included.

    Args:
        option: by which they were given, "--layers".
    """
    noun = option.strip("-")
    found: list[int] = []
    for word in words(values):
        ends = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", word, re.ASCII)
        if ends is None:
            message = f"{word!r} is not a {noun[:-1]}; {noun} are numbers, like 0 or -1, or 1-4"
            raise typer.BadParameter(message, param_hint=option)
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if not first <= last < first + _MOST or first < 0 <= last:
            message = f"{word!r} is not a range of {noun}; 1-4 is one, or -4--1"
            raise typer.BadParameter(message, param_hint=option)
        found += range(first, last + 1)
    return found


def load(model: str, device: str, dtype: str) -> AbstractContextManager[Model]:
    """The model in this process."""
    from esm2.opening import opened

    return opened(model, device=device, dtype=dtype)
