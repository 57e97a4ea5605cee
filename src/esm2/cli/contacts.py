"""`esm2 contacts`: which residues of a protein touch, and how much of a structure that finds.

OUT.npz    contacts (L, L) float32, id, sequence, meta
OUT.csv    the matrix, L lines of L numbers
OUT.tsv    i  j  p     pairs i < j, counted from 1, the most probable first

--pdb      precision of the most probable pairs, to standard output; its contacts are drawn, too
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.cli import options, single

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from esm2.science.structure import Precision
    from esm2.types import Float

    Truth = tuple[NDArray[np.bool_], NDArray[np.bool_]]

_SUFFIXES = (".npz", ".csv", ".tsv")
_SEPARATION = 6


def contacts(
    fasta: single.Fasta = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write: .npz or .csv for the matrix, .tsv for a list of pairs.",
        ),
    ] = None,
    sequence: single.SequenceText = None,
    separation: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pairs in a .tsv are at least so far apart along the chain.  [default: 6]",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only so many pairs in a .tsv, the most probable.  [default: all]"
        ),
    ] = None,
    picture: single.Picture = None,
    dark: single.Dark = False,
    pdb: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A structure of the protein (.pdb, .cif or .bcif, gzip or not): tell how many of"
            " the most probable pairs are contacts in it, and draw them in the picture.",
        ),
    ] = None,
    chain: Annotated[
        str | None, typer.Option(help="Chain of the structure, needed if it has several.")
    ] = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_residues: options.MaxResidues = options.LONGEST,
    upper: options.Upper = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the probability that two residues of one protein touch.

    With --pdb, P@L is the share of contacts (C-beta atoms closer than 8 Angstrom) among the L most
    probable pairs of a range, for a protein of L residues.
    """
    if output is None and picture is None and pdb is None:
        message = "name a file with --output, a --picture, or a structure with --pdb"
        raise typer.BadParameter(message, param_hint="--output")
    if chain is not None and pdb is None:
        raise typer.BadParameter("it is for a structure with --pdb", param_hint="--chain")
    kind = output.suffix.lower() if output else None
    if (top or separation) and kind != ".tsv":
        hint = "--top" if top else "--separation"
        raise typer.BadParameter("it is for a list of pairs, a .tsv", param_hint=hint)
    table = single.writing(output, "--output", _SUFFIXES, fasta) if output else nullcontext()
    with table as hidden, single.drawing(picture, dark, fasta) as image:
        record = single.read(fasta, sequence, max_residues, upper=upper)
        structure = _structure(pdb, chain, record.sequence, quiet) if pdb else None
        with options.load(model, device, dtype) as loaded:
            (values,) = loaded.contacts([record.sequence])
            decided = loaded.decided
        if hidden is not None and kind == ".npz":
            single.save_npz(hidden, record, decided, fasta, contacts=values)
        elif hidden is not None and kind == ".csv":
            single.save_rows(hidden, map(single.texts, values))
        elif hidden is not None:
            _save_pairs(hidden, values, separation or _SEPARATION, top)
        if image is not None:
            title = f"Contacts, {options.shown(record.id)}, {decided.slug}"
            _draw(values, structure, image, title, dark)
    if structure is not None:
        _print_precisions(values, structure)
    if not quiet:
        single.tell([output, picture], "contacts", record, decided)


def _structure(pdb: Path, chain: str | None, sequence: str, quiet: bool) -> Truth:
    from esm2.science import structure

    found = structure.read_chain(pdb, chain)
    truth, known = structure.true_contacts(found, structure.align(found, sequence))
    if not quiet:
        options.say(
            f"{pdb}: {known.sum()} of {options.counted(len(sequence), 'residue')} have coordinates"
            f" in chain {options.shown(found.name)}"
        )
    return truth, known


def _save_pairs(path: Path, values: Float, separation: int, top: int | None) -> None:
    from esm2.science.structure import ranked_pairs

    i, j = (index[:top] for index in ranked_pairs(values, separation))
    cells = zip((i + 1).astype(str), (j + 1).astype(str), single.texts(values[i, j]), strict=True)
    single.save_rows(path, [("i", "j", "p"), *cells], "\t")


def _draw(values: Float, structure: Truth | None, image: Path, title: str, dark: bool) -> None:
    from esm2 import plots

    if structure is None:
        plots.contact_map(values, image, title=title, dark=dark)
    else:
        truth, known = structure
        plots.contact_map(values, image, title=title, truth=truth, known=known, dark=dark)


def _print_precisions(values: Float, structure: Truth) -> None:
    from esm2.science.structure import precisions

    print(f"{'range':8}{'apart':>8}{'contacts':>10}{'P@L':>8}{'P@L/2':>8}{'P@L/5':>8}")
    for row in precisions(values, *structure):
        shares = "".join(f"{'-' if share is None else f'{share:.3f}':>8}" for share in row.at)
        print(f"{row.name:8}{_apart(row):>8}{row.contacts:>10}{shares}", flush=True)


def _apart(row: Precision) -> str:
    return f"{row.first}+" if row.last is None else f"{row.first}-{row.last}"
