"""`esm2 fill-mask`: the most probable amino acids at masked residues.

MKT<mask>YIAK  ──>  position  rank  residue  probability      standard output, tabs between
                    4         1     K        0.1713           OUT.csv has the same rows
                    4         2     R        0.0983
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.cli import options, single

if TYPE_CHECKING:
    from esm2.science.scoring import Guess

_HEADER = ["position", "rank", "residue", "probability"]
_AMINO_ACIDS = 20


def fill_mask(
    fasta: single.Fasta = None,
    *,
    sequence: single.SequenceText = None,
    top_k: Annotated[
        int,
        typer.Option(min=1, max=_AMINO_ACIDS, help="How many amino acids to tell for each mask."),
    ] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.csv", help="Write the table to a file, too."),
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
    """Tell which amino acids may stand at each <mask> of one protein.

    Example: esm2 fill-mask --sequence 'MKT<mask>YIAK'. Positions are counted from 1. Probabilities
    are among the 20 natural amino acids; the picture is a logo of all 20.
    """
    table = single.writing(output, "--output", (".csv",), fasta) if output else nullcontext()
    with table as hidden, single.drawing(picture, dark, fasta) as image:
        record = single.read(fasta, sequence, max_residues, "some", upper=upper)
        with options.load(model, device, dtype) as loaded:
            guesses = loaded.fill_mask(record.sequence, top_k=_AMINO_ACIDS)
            decided = loaded.decided
        rows = [
            [str(guess.position), str(rank), guess.residue, f"{guess.probability:.4f}"]
            for of_a_mask in guesses
            for rank, guess in enumerate(of_a_mask[:top_k], 1)
        ]
        if hidden is not None:
            single.save_rows(hidden, [_HEADER, *rows])
        if image is not None:
            title = f"Masked residues, {options.shown(record.id)}, {decided.slug}"
            _draw(guesses, image, title, dark)
    print(*map("\t".join, [_HEADER, *rows]), sep="\n", flush=True)
    if not quiet:
        single.tell([output, picture], "masked residues", record, decided)


def _draw(guesses: list[list[Guess]], image: Path, title: str, dark: bool) -> None:
    import numpy as np

    from esm2 import plots
    from esm2.alphabet import AMINO_ACIDS

    by_letter = [{guess.residue: guess.probability for guess in of_a_mask} for of_a_mask in guesses]
    probabilities = np.array([[own[letter] for letter in AMINO_ACIDS] for own in by_letter])
    positions = [of_a_mask[0].position for of_a_mask in guesses]
    plots.logo(probabilities.astype(np.float32), positions, image, title=title, dark=dark)
