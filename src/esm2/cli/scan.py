"""`esm2 scan`: every substitution of a protein, scored.

FASTA ──> marginals.log_probabilities ──> Scan ──┬──> OUT.csv      one row a substitution
                                                 ├──> MATRIX.csv   20 amino acids x positions
                                                 └──> a picture
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from esm2.cli import options, passes, records, single, tables
from esm2.cli.options import counted, say, shown
from esm2.errors import RequestError

if TYPE_CHECKING:
    from esm2.files.fasta import Position
    from esm2.runtime import Served
    from esm2.science.marginals import Scan
    from esm2.types import Record

_Strategy = Literal["masked-marginals", "wt-marginals"]


def scan(
    fasta: Annotated[
        list[str],
        typer.Argument(
            metavar="PROTEIN.fasta",
            help=options.FASTA,
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.csv",
            help="Table to write, a row for each substitution: mutant, position, wt, mt, score"
            " (before them id, if there are several records). - is standard output.",
        ),
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.csv",
            help="Table to write, a row for each of the 20 amino acids, a column for each"
            " position; of one record.",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png|.svg", help="Heat map to draw; of one record."),
    ] = None,
    dark: single.Dark = False,
    strategy: Annotated[
        _Strategy,
        typer.Option(
            help="masked-marginals masks each position in a pass of its own; wt-marginals is one"
            " pass, less exact."
        ),
    ] = "masked-marginals",
    model: options.ModelName = options.DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_residues: options.MaxResidues = options.LONGEST,
    strict: options.Strict = False,
    upper: options.Upper = False,
    quiet: options.Quiet = False,
) -> int:
    """Score every substitution of a protein, a deep mutational scan without a laboratory.

    Scores are log-odds of the mutant against the wild type: below 0 is less likely. A record that
    cannot be scored is told and left out.

    Exit status: 0 all records, 1 nothing was written, 3 written with records left out.
    """
    source = options.source(fasta)
    _check_usage(output, matrix, picture)

    from esm2.files import fasta as fasta_file

    with ExitStack() as stack:
        image = stack.enter_context(single.drawing(picture, dark, *fasta))
        position = fasta_file.Position()
        found = stack.enter_context(closing(fasta_file.read_all(fasta, position)))
        begun = list(islice(found, 2))
        everything: Iterator[Record] = chain(begun, found)
        several = len(begun) > 1
        if several and (matrix or picture):
            option = "--matrix" if matrix else "--picture"
            raise typer.BadParameter(f"{source} has several records", param_hint=option)
        rows = stack.enter_context(tables.written(output)) if output else None
        cells = stack.enter_context(tables.written(matrix)) if matrix else None
        served = stack.enter_context(passes.opened(model, device, dtype))
        accepted = records.Accepted(
            fasta_file.upper(everything) if upper else everything,
            source,
            max_residues,
            strict=strict,
        )
        scanned = 0
        for own_id, own in _scans(
            accepted, served, strategy, position if several else None, quiet=quiet
        ):
            if rows is not None and output is not None:
                _write_rows(rows, output, own, own_id if several else None, header=not scanned)
            if cells is not None and matrix is not None:
                _write_matrix(cells, matrix, own)
            if image is not None:
                _draw(own, image, f"{shown(own_id)}, {strategy}, {served.decided.slug}", dark)
            scanned += 1
        if not scanned:
            raise RequestError(f"no record of {source} could be scored; nothing was written")
        by = passes.by(served.decided)
    accepted.tell_repeated()
    if accepted.remarks or not quiet:
        names = ", ".join(tables.name_of(path) for path in (output, matrix, picture) if path)
        counts = f"{counted(scanned, 'record')}, {accepted.residues:,} residues, {strategy}"
        say(f"{names}: {counts}, {by}{accepted.remarks}")
    return options.LEFT_OUT if accepted.refused else 0


def _check_usage(output: Path | None, matrix: Path | None, picture: Path | None) -> None:
    if output is None and matrix is None and picture is None:
        raise typer.BadParameter("say what to write: --output, --matrix or --picture")
    if output is not None:
        tables.check_output(output, None, "--output")
    if matrix is not None:
        tables.check_output(matrix, None, "--matrix")
    if output is not None and output == matrix:
        raise typer.BadParameter(f"{matrix} is what --output names too", param_hint="--matrix")


def _scans(
    accepted: records.Accepted,
    served: Served,
    strategy: _Strategy,
    position: Position | None,
    *,
    quiet: bool,
) -> Iterator[tuple[str, Scan]]:
    from esm2.science.marginals import Scan, in_turn, log_probabilities

    works = (((own, tokens), log_probabilities(tokens, strategy)) for own, tokens in accepted)
    with passes.forwarding(served, quiet, position=position) as forward:
        for (record, tokens), table in in_turn(works, forward):
            yield record.id, Scan.of(tokens, table)


def _write_rows(out: TextIO, output: Path, scan: Scan, own_id: str | None, *, header: bool) -> None:
    writer = csv.writer(out, delimiter=tables.delimiter_of(output), lineterminator="\n")
    first = [] if own_id is None else [own_id]
    if header:
        names = ["mutant", "position", "wt", "mt", "score"]
        writer.writerow(names if own_id is None else ["id", *names])
    for position, wt, mt, score in scan.substitutions():
        writer.writerow([*first, f"{wt}{position}{mt}", position, wt, mt, tables.number(score)])


def _write_matrix(out: TextIO, matrix: Path, scan: Scan) -> None:
    from esm2.alphabet import AMINO_ACIDS

    writer = csv.writer(out, delimiter=tables.delimiter_of(matrix), lineterminator="\n")
    columns = zip(scan.residues, scan.positions, strict=True)
    writer.writerow(["mt", *(f"{wt}{position}" for wt, position in columns)])
    for amino_acid, row in zip(AMINO_ACIDS, scan.scores, strict=True):
        writer.writerow([amino_acid, *map(tables.number, row)])


def _draw(scan: Scan, image: Path, title: str, dark: bool) -> None:
    from esm2 import plots

    scores = scan.scores.astype("float32")
    plots.scan_heatmap("".join(scan.residues), scores, image, title=title, dark=dark)
