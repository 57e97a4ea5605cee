"""`esm2 merge`: the parts of a run that was shared out, as the one file that it would have made.

PART.npz ... ──shards.merged──> files.Journal ──> files.commit ──> OUT.h5, OUT.h5.rejects.fasta
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.cli import options
from esm2.cli.options import counted, say
from esm2.errors import RequestError

if TYPE_CHECKING:
    from esm2.files import Journal


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="PART...", help="All parts that `esm2 embed --shard` wrote."),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write; its ending is its format: .h5, .parquet, .npz, .safetensors,"
            " .h5ad, .csv, .jsonl.",
        ),
    ],
    h5_key: Annotated[
        options.H5Key | None,
        typer.Option(help="What names a dataset of an .h5, as for `esm2 embed`.  [default: id]"),
    ] = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> int:
    """Make one file of the parts of a run: the same that one machine alone would have written.

    The records are in the order of the input, whatever the order of the parts. Parts that are
    missing, damaged, or of another run are told, and nothing is written then. The parts stay.

    Exit status: 0 all records, 1 nothing was written, 3 written with records left out.
    """
    from esm2 import files
    from esm2.files import shards

    output = files.target(output)
    format = files.find(output)
    if format is None:
        message = f"{output} has no ending that is known here: {', '.join(files.FORMATS)}"
        raise typer.BadParameter(message, param_hint="--output")
    if h5_key is not None and format.suffix != ".h5":
        raise typer.BadParameter("only an .h5 has datasets to name", param_hint="--h5-key")
    for path in parts:
        if written := files.replaced(output, str(path)):
            message = f"{written} is one of the parts"
            raise typer.BadParameter(message, param_hint="--output")
    format.load()
    files.check_place(output, force=force)
    with ExitStack() as stack:
        opened = [stack.enter_context(shards.Part(path)) for path in parts]
        shards.check(opened)
        run = replace(opened[0].run, shard=None, format=format.suffix, keys=h5_key or "id")
        if objection := format.objection(run.include, len(run.layers)):
            raise typer.BadParameter(objection, param_hint="--output")
        meta = {k: v for k, v in opened[0].meta.items() if k not in shards.DESCRIBED}
        with files.Journal(output, run, restart=True) as journal, _for_now(journal):
            for entry, data in shards.merged(opened):
                journal.take(entry, data)
            count, residues, rejected = journal.count, journal.residues, journal.rejected
            if not count:
                files.commit_rejects(output, journal)
                raise RequestError(
                    f"no record of the parts could be embedded ({rejected} rejected, see"
                    f" {files.rejects_path(output)}); {output} was not written"
                )
            notes = files.commit(output, journal, meta, force=force)
    for note in notes:
        say(f"{output}: {note}")
    if not quiet or rejected:
        left_out = (
            f"; {counted(rejected, 'record')} left out, see {files.rejects_path(output)}"
            if rejected
            else ""
        )
        say(
            f"{output}: {counted(count, 'record')}, {counted(residues, 'residue')} of"
            f" {counted(len(parts), 'part')}, {run.model}, {run.dtype}{left_out}"
        )
    return options.LEFT_OUT if rejected else 0


@contextmanager
def _for_now(journal: Journal) -> Iterator[None]:
    """Of a merge that fails nothing is kept: the parts are there to begin anew with."""
    try:
        yield
    except BaseException:
        journal.discard()
        raise
