"""`esm2 logits`: raw logits of the 20 amino acids at every residue of a protein.

OUT.npz    logits (L, 20) float32, amino_acids (20,), id, sequence, meta
OUT.csv    position,residue,L,A,G,...     a line for each residue
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from esm2.cli import options, single

_SUFFIXES = (".npz", ".csv")


def logits(
    fasta: single.Fasta = None,
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="File to write, .npz or .csv."),
    ],
    sequence: single.SequenceText = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_residues: options.MaxResidues = options.LONGEST,
    upper: options.Upper = False,
    quiet: options.Quiet = False,
) -> None:
    """Write what the model expects at every residue of one protein, as raw logits.

    A softmax over the 20 columns of a row gives probabilities of the amino acids. Residues may be
    <mask>. Without one, the model sees the residue it is asked about.
    """
    with single.writing(output, "--output", _SUFFIXES, fasta) as hidden:
        record = single.read(fasta, sequence, max_residues, "any", upper=upper)
        from esm2.alphabet import AMINO_ACIDS, letters, tokenize

        with options.load(model, device, dtype) as loaded:
            (values,) = loaded.logits([record.sequence])
            decided = loaded.decided
        if hidden.suffix.lower() == ".npz":
            single.save_npz(hidden, record, decided, fasta, logits=values, amino_acids=AMINO_ACIDS)
        else:
            residues = letters(tokenize(record.sequence))
            header = ["position", "residue", *AMINO_ACIDS]
            rows = (
                [str(position), residue, *single.texts(row)]
                for position, (residue, row) in enumerate(zip(residues, values, strict=True), 1)
            )
            single.save_rows(hidden, [header, *rows])
    if not quiet:
        single.tell([output], "logits", record, decided)
