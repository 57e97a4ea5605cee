"""`esm2 score`: zero-shot scores of variants, as a column more in their table.

    variants   arguments | a column of a CSV  ─┐
    wild type  --sequence | --wt | the CSV's   ├──> variants.place ──> marginals.scores ──> OUT.csv
               mutated_sequence column        ─┘

Nothing is computed before every variant is known to match the wild type; the file is written whole
or not at all.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from esm2.cli import options, passes, tables
from esm2.cli.options import counted, say, shown
from esm2.errors import InvalidFasta, InvalidTable, InvalidVariant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MUTATED = "mutated_sequence"
_AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class _Given:
    """Variants as they were given.

    Attributes:
        texts: as written.
        table: where they are from, if not from the command line.
        mutated: ProteinGym's sequences with the variants in them, where the table has them.
    """

    texts: list[str]
    table: tables.Table | None = None
    mutated: list[str] | None = None

    def named(self, number: int) -> str:
        """The place of a variant, for refusals."""
        if self.table is None:
            return f"argument {number + 1}"
        return f"{self.table.source}, line {self.table.lines[number]}"


def score(
    variant: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VARIANT",
            help="Variants, such as A24G, p.Ala24Gly or A24G:D30N; or else --variants.",
        ),
    ] = None,
    *,
    variants: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="A table with a variant in each row (.csv, .tsv, also .gz), or - for a .csv from"
            " standard input. It is written again as it is, with a column of scores more.",
        ),
    ] = None,
    mutant_column: Annotated[
        str, typer.Option(metavar="NAME", help="The column of the table that has the variants.")
    ] = "mutant",
    sequence: Annotated[
        str | None, typer.Option(metavar="SEQ", help="The wild type, as residues.")
    ] = None,
    wt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.fasta",
            help="The wild type, as a FASTA file of one record. Without either, it is worked out"
            f" from the column {_MUTATED} of the table, which ProteinGym's have.",
        ),
    ] = None,
    strategy: Annotated[
        Literal["masked-marginals", "wt-marginals", "pppl"],
        typer.Option(
            help="masked-marginals masks each mutated position in a pass of its own; wt-marginals"
            " is one pass, less exact; pppl compares pseudo-log-likelihoods, with a pass for each"
            " residue of each variant."
        ),
    ] = "masked-marginals",
    offset: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="What to subtract from a position to get the residue of the wild type, counted"
            " from 1. auto takes 0 if every letter matches, or else the only number with which"
            " every letter does, and says so.",
        ),
    ] = _AUTO,
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the new column.  [default: the model's]"),
    ] = None,
    spearman: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Print the Spearman rank correlation of the scores with a column of the table.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.csv", help="Table to write; - is standard output."
        ),
    ] = Path(tables.STDOUT),
    model: options.ModelName = options.DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_residues: options.MaxResidues = options.LONGEST,
    upper: options.Upper = False,
    quiet: options.Quiet = False,
) -> None:
    """Score variants of a protein: the log-odds of the mutant against the wild type.

    0 is the wild type, below 0 is less likely. Every variant has to match the wild type; if one
    does not, nothing is written.
    """
    _check_usage(variant, variants, wt, spearman, output)
    shift = _offset(offset)
    given = _given(variant, variants, mutant_column, spearman)

    from esm2.alphabet import tokenize
    from esm2.oddities import WHY, oddity
    from esm2.science import marginals
    from esm2.science.variants import place

    wild_type = _wild_type(sequence, wt, given, shift)
    wild_type = wild_type.upper() if upper else wild_type
    tokens = tokenize(wild_type, masks="none", max_residues=max_residues)
    if odd := oddity(wild_type):
        say(f"the wild type: {WHY[odd]}")
    sites = place(given.texts, tokens, shift, given.named)
    if sites.offset and shift == _AUTO:
        say(
            f"all {counted(sites.count, 'variant')} match the sequence with offset {sites.offset};"
            f" pass --offset {sites.offset} to make that explicit"
        )
    if sequence is not None or wt is not None:
        _tell_of_another(wild_type, given, sites.offset)
    with tables.written(output) as out, passes.opened(model, device, dtype) as served:
        name = column or served.decided.slug
        if given.table is not None and name in given.table.header:
            reason = f"there is a column {name!a} already; name the new one with --column"
            raise InvalidTable(given.table.source, 1, reason)
        work = marginals.scores(tokens, sites, strategy)
        values = passes.done(work, served, quiet)
        cells = [tables.number(value) for value in values]
        if given.table is not None:
            given.table.write(out, name, cells)
        else:
            writer = csv.writer(out, delimiter=tables.delimiter_of(output), lineterminator="\n")
            writer.writerows([(mutant_column, name), *zip(given.texts, cells, strict=True)])
        by = passes.by(served.decided)
    if not quiet:
        passes_done = "1 forward pass" if work.passes == 1 else f"{work.passes:,} forward passes"
        counts = f"{counted(sites.count, 'variant')}, {strategy}, {passes_done}"
        say(f"{tables.name_of(output)}: {counts}, {by}")
    if spearman is not None and given.table is not None:
        line = _correlation(name, spearman, values, given.table.columns[spearman])
        say(line) if str(output) == tables.STDOUT else print(line)


# --- what was given ----------------------------------------------------------------------------


def _check_usage(
    variant: Sequence[str] | None,
    variants: Path | None,
    wt: Path | None,
    spearman: str | None,
    output: Path,
) -> None:
    if bool(variant) == bool(variants):
        raise typer.BadParameter("give variants as arguments, or a table of them with --variants")
    if str(variants) == str(wt) == tables.STDIN:
        raise typer.BadParameter("standard input (-) can be read once", param_hint="--wt")
    if spearman is not None and variants is None:
        raise typer.BadParameter("it is a column of --variants", param_hint="--spearman")
    delimiter = None if variants is None else tables.delimiter_of(variants)
    tables.check_output(output, delimiter, "--output")


def _offset(text: str) -> int | Literal["auto"]:
    if text == _AUTO:
        return _AUTO
    from esm2.science.variants import checked_offset

    try:
        number = int(text)
    except ValueError:
        message = f"{text[:20]!r} is neither a whole number nor auto"
        raise typer.BadParameter(message, param_hint="--offset") from None
    try:
        return checked_offset(number)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--offset") from None


def _given(
    variant: Sequence[str] | None,
    variants: Path | None,
    mutant_column: str,
    spearman: str | None,
) -> _Given:
    if variants is None:
        return _Given(list(variant or ()))
    wanted = [mutant_column, *([spearman] if spearman is not None else [])]
    table = tables.read(variants, wanted, (_MUTATED,))
    return _Given(table.columns[mutant_column], table, table.columns.get(_MUTATED))


def _wild_type(
    sequence: str | None, wt: Path | None, given: _Given, offset: int | Literal["auto"]
) -> str:
    if sequence is not None and wt is not None:
        raise typer.BadParameter("give the wild type once: --sequence or --wt")
    if sequence is not None:
        return sequence
    if wt is not None:
        return _only_record(wt)
    if given.mutated is None:
        raise typer.BadParameter(
            f"give the wild type with --sequence or --wt (or a table with a column {_MUTATED})"
        )
    found = _reverted(given, given.mutated, 0 if offset == "auto" else offset)
    say(f"the wild type is that of the column {_MUTATED}: {counted(len(found), 'residue')}")
    return found


def _only_record(path: Path) -> str:
    from esm2.files import fasta

    with closing(fasta.read(path)) as records:
        first = next(records)
        second = next(records, None)
    if second is not None:
        reason = "there is a second record; the wild type is a file of one"
        raise InvalidFasta(str(path), second.line, reason, second.unit)
    return first.sequence


def _reverted(given: _Given, mutated: Sequence[str], offset: int) -> str:
    """The wild type that every row gives once its mutations are undone."""
    from esm2.science.variants import parse, reverted

    found = None
    for number, (text, own) in enumerate(zip(given.texts, mutated, strict=True)):
        try:
            wild_type = reverted(parse(text), own, offset)
        except InvalidVariant as error:
            raise _at(given, number, str(error)) from error
        if found is not None and wild_type != found:
            reason = f"its {_MUTATED} comes from another wild type than the rows before"
            raise _at(given, number, reason)
        found = wild_type
    assert found is not None, "a table has rows"
    return found


def _tell_of_another(wild_type: str, given: _Given, offset: int) -> None:
    """Say it if the table's own sequences are of another wild type than the one that was given."""
    from esm2.science.variants import parse, reverted

    rows = zip(given.texts, given.mutated, strict=True) if given.mutated is not None else ()
    for number, (text, own) in enumerate(rows):
        try:
            same = reverted(parse(text), own, offset) == wild_type
        except InvalidVariant:  # it has other letters there
            same = False
        if not same:
            say(
                f"{given.named(number)}: its {_MUTATED} is of another wild type,"
                f" {counted(len(own), 'residue')}; the one that was given is scored"
            )
            return


def _at(given: _Given, number: int, reason: str) -> InvalidTable:
    assert given.table is not None
    return InvalidTable(given.table.source, given.table.lines[number], reason)


# --- correlation -------------------------------------------------------------------------------


def _correlation(
    name: str, column: str, scores: NDArray[np.float64], measured: Sequence[str]
) -> str:
    import numpy as np

    from esm2.science.scoring import spearman

    numbers = np.array([_number(text) for text in measured])
    there = np.isfinite(numbers)
    value = spearman(scores[there], numbers[there])
    left_out = int((~there).sum())
    more = f"; {counted(left_out, 'row')} without a number left out" if left_out else ""
    rho = "not defined" if math.isnan(value) else f"{value:.4f}"
    return (
        f"Spearman rank correlation of {shown(name)} with {shown(column)}: {rho}"
        f" over {counted(int(there.sum()), 'row')}{more}"
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
