"""`esm2 models`: what is known, what is here, and where.

On a terminal a table and below it the places; into a pipe plain columns, never cut or wrapped;
with --json the same rows for a program.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

import esm2
from esm2 import hub
from esm2.catalog import CAVEATS, CHECKPOINTS, DEMO_SLUG, Checkpoint, Shape
from esm2.cli.options import say
from esm2.errors import SettingsError

_HEADINGS = ("slug", "other name", "layers", "dim", "heads", "parameters", "here", "where")


@dataclass(frozen=True, slots=True)
class Row:
    """One model, as it is shown.

    Attributes:
        parameters: as fair-esm counts them, contact head included.
        where: directory of the weights, None if they are not on this machine.
        note: what a person should know besides, or "".
    """

    slug: str
    name: str
    layers: int
    dim: int
    heads: int
    parameters: int
    here: bool
    where: str | None
    note: str

    def cells(self) -> tuple[str, ...]:
        numbers = (self.layers, self.dim, self.heads)
        here = "yes" if self.here else "no"
        return (
            *(self.slug, self.name or "-", *map(str, numbers)),
            *(f"{self.parameters:,}", here, self.place()),
        )

    def place(self) -> str:
        where = self.where or f"esm2 fetch {self.slug}"
        return f"{where} ({self.note})" if self.note else where


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """List the models: their size, and whether and where their weights are on this machine."""
    rows = [_demo(), *map(_official, CHECKPOINTS)]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    elif sys.stdout.isatty():
        _table(rows)
    else:
        _columns(rows)
    say(_place())


def _official(checkpoint: Checkpoint) -> Row:
    shape, where = checkpoint.shape, hub.locate(checkpoint)
    return Row(
        checkpoint.slug,
        checkpoint.name,
        *(shape.layers, shape.dim, shape.heads, shape.parameters),
        here=where is not None,
        where=None if where is None else str(where),
        note="",
    )


def _demo() -> Row:
    directory = Path(esm2.__file__).parent / "demo"
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    keys = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    shape = Shape(*(config[key] for key in keys))
    return Row(
        DEMO_SLUG,
        "",
        *(shape.layers, shape.dim, shape.heads, shape.parameters),
        here=True,
        where=str(directory),
        note=f"inside the package; {CAVEATS['demo']}",
    )


def _place() -> str:
    try:
        return f"looked in {hub.cache_directory()} (set HF_HOME to look elsewhere)"
    except SettingsError as error:  # huggingface_hub is missing: the demo is all there can be
        return f"no cache was looked at: {error}"


def _columns(rows: list[Row]) -> None:
    lines = [_HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _table(rows: list[Row]) -> None:
    """The table that fits 80 columns, and below it the places, which do not."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in _HEADINGS[:-1]:
        numeric = heading in ("layers", "dim", "heads", "parameters")
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells()[:-1])
    Console().print(table, markup=False)
    print()
    for row in rows:
        print(f"{row.slug}: {row.place()}")
