"""`esm2 attentions`: where each layer looks, as a file or a picture.

OUT.npz    attentions (N, L) float32, id, sequence, meta
OUT.csv    layer,1,2,...,L     a line for each layer

--layers, --heads      whole maps instead
OUT.npz    maps (layers, heads, L, L) float32, layers, heads, id, sequence, meta
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.cli import options, single

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_SUFFIXES = (".npz", ".csv")


def attentions(
    fasta: single.Fasta = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="File to write, .npz or .csv."),
    ] = None,
    sequence: single.SequenceText = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER,...",
            help="Write the whole maps of these layers: 1 is the first, -1 the last, 1-4 the first"
            " four. Repeat, or separate by commas.  [default, with --heads: -1]",
        ),
    ] = None,
    heads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD,...",
            help="Write the whole maps of these heads, counted from 0: 0-3 are the first four."
            "  [default, with --layers: all]",
        ),
    ] = None,
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

    With --layers or --heads, an .npz has whole maps instead: maps[i, j] is that of layers[i] and
    heads[j], a row for each residue that looks, a column for each that is looked at.
    """
    if output is None and picture is None:
        raise typer.BadParameter("name a file with --output, or a --picture", param_hint="--output")
    asked = _asked(layers, heads, output, picture)
    table = single.writing(output, "--output", _SUFFIXES, fasta) if output else nullcontext()
    with table as hidden, single.drawing(picture, dark, fasta) as image:
        record = single.read(fasta, sequence, max_residues, upper=upper)
        from esm2.arguments import Maps

        arrays: dict[str, ArrayLike]
        with options.load(model, device, dtype) as loaded:
            decided = loaded.decided
            if asked is None:
                (values,) = loaded.attentions([record.sequence])
                arrays = {"attentions": values}
            else:
                values = loaded.attention_maps(record.sequence, *asked)
                maps = Maps.asked(*asked, decided.shape)
                arrays = {"maps": values, "layers": maps.layers, "heads": maps.heads}
        if hidden is not None and hidden.suffix.lower() == ".npz":
            single.save_npz(hidden, record, decided, fasta, **arrays)
        elif hidden is not None:
            header = ["layer", *map(str, range(1, values.shape[1] + 1))]
            rows = ([str(layer), *single.texts(row)] for layer, row in enumerate(values, 1))
            single.save_rows(hidden, [header, *rows])
        if image is not None:
            from esm2 import plots

            title = f"Attention, {options.shown(record.id)}, {decided.slug}"
            plots.attention_map(values, image, title=title, dark=dark)
    if not quiet:
        what = "attentions"
        if asked is not None:
            what = options.counted(values.shape[0] * values.shape[1], "attention map")
        single.tell([output, picture], what, record, decided)


def _asked(
    layers: list[str] | None, heads: list[str] | None, output: Path | None, picture: Path | None
) -> tuple[list[int], list[int] | None] | None:
    """Layers and heads of whole maps, if there are to be such.

    Raises:
        typer.BadParameter: they are no numbers, or would go where there is no room for maps.
    """
    if layers is None and heads is None:
        return None
    if output is None or output.suffix.lower() != ".npz" or picture is not None:
        message = "whole maps go into an .npz (--output); a .csv or a picture has the means"
        hint = "--heads" if layers is None else "--layers"
        raise typer.BadParameter(message, param_hint=hint)
    return (
        options.indices(layers or ["-1"], "--layers"),
        None if heads is None else options.indices(heads, "--heads"),
    )
