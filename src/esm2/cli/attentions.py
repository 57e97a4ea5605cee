"""`esm2 attentions`: where each layer looks, as a file or a picture.

OUT.npz    attentions (N, L) float32, id, sequence, meta
OUT.csv    layer,1,2,...,L     a line for each layer
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from esm2.cli import options, single

_SUFFIXES = (".npz", ".csv")


def attentions(
    fasta: single.Fasta = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="File to write, .npz or .csv."),
    ] = None,
    sequence: single.SequenceText = None,
    picture: single.Picture = None,
    dark: single.Dark = False,
    model: options.ModelName = options.DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_residues: options.MaxResidues = options.LONGEST,
    upper: options.Upper = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the attention that each residue of one protein receives in each layer.

    It is the mean over the heads of the layer and over all that look: the residues, and the tokens
    before and after them.
    """
    if output is None and picture is None:
        raise typer.BadParameter("name a file with --output, or a --picture", param_hint="--output")
    table = single.writing(output, "--output", _SUFFIXES, fasta) if output else nullcontext()
    with table as hidden, single.drawing(picture, dark, fasta) as image:
        record = single.read(fasta, sequence, max_residues, upper=upper)
        with options.load(model, device, dtype) as loaded:
            (values,) = loaded.attentions([record.sequence])
            decided = loaded.decided
        if hidden is not None and hidden.suffix == ".npz":
            single.save_npz(hidden, record, decided, fasta, attentions=values)
        elif hidden is not None:
            header = ["layer", *map(str, range(1, values.shape[1] + 1))]
            rows = ([str(layer), *single.texts(row)] for layer, row in enumerate(values, 1))
            single.save_rows(hidden, [header, *rows])
        if image is not None:
            from esm2 import plots

            title = f"Attention, {options.shown(record.id)}, {decided.slug}"
            plots.attention_map(values, image, title=title, dark=dark)
    if not quiet:
        single.tell([output, picture], "attentions", record, decided)
