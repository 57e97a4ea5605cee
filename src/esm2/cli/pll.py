"""`esm2 pll`: the pseudo-log-likelihood of every record of a FASTA file.

FASTA ──> marginals.pll, or with --approximate marginals.log_prob ──> OUT.csv
"""

from __future__ import annotations

import csv
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from esm2.cli import options, passes, records, tables
from esm2.cli.options import counted, say
from esm2.errors import RequestError


def pll(
    fasta: Annotated[
        str,
        typer.Argument(metavar="PROTEINS.fasta", help="A FASTA file, or - for standard input."),
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
    quiet: options.Quiet = False,
) -> int:
    """Tell how natural proteins look to the model.

    pll is the sum over the residues of log p(residue | all others), in nats, from a pass for each
    residue; pseudo_perplexity is exp(-pll / length), from 1 (certain) up. A record that cannot be
    scored is told and left out; the exit status is then 1.
    """
    tables.check_output(output, None, "--output")

    from esm2 import fasta as fasta_file
    from esm2 import marginals, scoring
    from esm2.alphabet import residue_tokens

    work = marginals.log_prob if approximate else marginals.pll
    names = ["log_prob"] if approximate else ["pll", "pseudo_perplexity"]
    with ExitStack() as stack:
        found = stack.enter_context(closing(fasta_file.read(fasta)))
        first = next(found)
        out = stack.enter_context(tables.written(output))
        writer = csv.writer(out, delimiter=tables.delimiter_of(output), lineterminator="\n")
        served = stack.enter_context(passes.opened(model, device, dtype))
        accepted = records.Accepted(chain([first], found), fasta, max_residues)
        works = (((own, tokens), work(tokens)) for own, tokens in accepted)
        scored = 0
        with passes.forwarding(served, quiet) as forward:
            for (record, tokens), value in marginals.in_turn(works, forward):
                if not scored:
                    writer.writerow(["id", "length", *names])
                length = len(residue_tokens(tokens))
                more = [] if approximate else [scoring.pseudo_perplexity(value, length)]
                writer.writerow([record.id, length, *map(tables.number, [value, *more])])
                scored += 1
        if not scored:
            raise RequestError(f"no record of {fasta} could be scored; nothing was written")
        by = passes.by(served.decided)
    if accepted.refused or not quiet:
        counts = f"{counted(scored, 'record')}, {accepted.residues:,} residues"
        say(f"{tables.name_of(output)}: {counts}, {by}{accepted.left_out}")
    return 1 if accepted.refused else 0
