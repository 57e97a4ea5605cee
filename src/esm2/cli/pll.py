"""`esm2 pll`: the pseudo-log-likelihood of every record of FASTA files.

FASTA ──> marginals.pll, or with --approximate marginals.log_prob ──> OUT.csv
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.cli import options, passes, records, tables
from esm2.cli.options import counted, say
from esm2.errors import RequestError

if TYPE_CHECKING:
    from esm2.types import Record


def pll(
    fasta: Annotated[
        list[str],
        typer.Argument(
            metavar="PROTEINS.fasta",
            help=options.FASTA,
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.csv", help="Table to write; - is standard output."
        ),
    ] = Path(tables.STDOUT),
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="One pass a protein with nothing masked, which is as many times faster as it has"
            " residues. The model then sees what it is asked about, so the numbers are other ones"
            " and nearer to 0; the column is log_prob.",
        ),
    ] = False,
    model: options.ModelName = options.DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_residues: options.MaxResidues = options.LONGEST,
    strict: options.Strict = False,
    upper: options.Upper = False,
    quiet: options.Quiet = False,
) -> int:
    """Tell how natural proteins look to the model.

    pll is the sum over the residues of log p(residue | all others), in nats, from a pass for each
    residue; pseudo_perplexity is exp(-pll / length), from 1 (certain) up. A record that cannot be
    scored is told and left out.

    Exit status: 0 all records, 1 nothing was written, 3 written with records left out.
    """
    source = options.source(fasta)
    tables.check_output(output, None, "--output")

    from esm2.alphabet import residue_tokens
    from esm2.files import fasta as fasta_file
    from esm2.science import marginals, scoring

    work = marginals.log_prob if approximate else marginals.pll
    names = ["log_prob"] if approximate else ["pll", "pseudo_perplexity"]
    with ExitStack() as stack:
        position = fasta_file.Position()
        found = stack.enter_context(closing(fasta_file.read_all(fasta, position)))
        everything: Iterator[Record] = chain([next(found)], found)
        out = stack.enter_context(tables.written(output))
        writer = csv.writer(out, delimiter=tables.delimiter_of(output), lineterminator="\n")
        served = stack.enter_context(passes.opened(model, device, dtype))
        accepted = records.Accepted(
            fasta_file.upper(everything) if upper else everything,
            source,
            max_residues,
            strict=strict,
        )
        works = (((own, tokens), work(tokens)) for own, tokens in accepted)
        scored = 0
        with passes.forwarding(served, quiet, position=position) as forward:
            for (record, tokens), value in marginals.in_turn(works, forward):
                if not scored:
                    writer.writerow(["id", "length", *names])
                length = len(residue_tokens(tokens))
                more = [] if approximate else [scoring.pseudo_perplexity(value, length)]
                writer.writerow([record.id, length, *map(tables.number, [value, *more])])
                scored += 1
        if not scored:
            raise RequestError(f"no record of {source} could be scored; nothing was written")
        by = passes.by(served.decided)
    accepted.tell_repeated()
    if accepted.remarks or not quiet:
        counts = f"{counted(scored, 'record')}, {accepted.residues:,} residues"
        say(f"{tables.name_of(output)}: {counts}, {by}{accepted.remarks}")
    return options.LEFT_OUT if accepted.refused else 0
