"""The options that several commands share, each declared once, and the model they name."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.catalog import DEMO_SLUG

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

DEFAULT_MODEL = DEMO_SLUG
LONGEST = 2048


def say(text: str) -> None:
    """One line to standard error."""
    print(text, file=sys.stderr)


def shown(text: str) -> str:
    """A name for a terminal: a file must not be able to move the cursor."""
    return text if text.isprintable() else ascii(text)


def counted(number: int, noun: str) -> str:
    """`1 record`, `1,234 records`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def load(model: str, device: str, dtype: str) -> AbstractContextManager[Model]:
    """The model in this process."""
    from esm2.local import opened

    return opened(model, device=device, dtype=dtype)
