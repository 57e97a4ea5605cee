"""Proteins as training batches: rows of one width, cut at random, 15 % of the residues hidden.

    proteins of 35 tokens or more, sorted into widths that are multiples of 16
    width 48:   [ <cls> M K T A ... ]     48 tokens of a protein of 48..63, at a random offset
    width 256:  everything longer than the crop, as often as it is wide

A batch is a function of (seed, step, number) alone, so a run that was interrupted goes on exactly,
and one process draws the same batches as several. Windows are cut from BOS + residues + EOS: a
model learns where a protein ends only where it does.

The family-wise split is the data's own: the held-out file has no homologue in the training file
(PROVENANCE.md beside the data). Those of the structures on which contacts are tested are left out
too (`homologues`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esm2.alphabet import AMINO_ACID_COLUMNS, MASK, tokenize
from esm2.files import fasta

_HOMOLOGUES = Path(__file__).with_name("homologues.txt")

_STEP = 16  # tokens between one width and the next
_NARROWEST = 32

_HELD_OUT_SEED = 1_000_003
_PICKED = 0.15  # of the natural residues
#: What becomes of a picked residue, in shares: <mask>, another residue at random; the rest stays.
LEARNING = (0.8, 0.1)
TESTING = (1.0, 0.0)


def read_tokens(path: Path, without: Collection[str] = ()) -> list[NDArray[np.uint8]]:
    """The tokens of the proteins of a FASTA file, BOS and EOS included: uint8 (L + 2,) each.

    Args:
        without: ids of records to leave out.
    """
    return [tokenize(record.sequence) for record in fasta.read(path) if record.id not in without]


def homologues() -> frozenset[str]:
    """The ids of the training proteins that are akin to one of the 44 structures.

    Left out of the training, so that contacts are tested on proteins of which the model has seen
    nothing. How the list was made: training/README.md.
    """
    return frozenset(_HOMOLOGUES.read_text(encoding="utf-8").split())


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Equally long windows and what is hidden in them.

    Attributes:
        tokens: int64 (B, W) as the model sees them.
        picked: int64 (P,), the chosen positions of the flattened tokens, ascending.
        targets: int64 (P,), the residues that were there.
    """

    tokens: NDArray[np.int64]
    picked: NDArray[np.int64]
    targets: NDArray[np.int64]


class Windows:
    """All windows of at most `crop` tokens of a set of proteins, by their width."""

    def __init__(self, proteins: Sequence[NDArray[np.uint8]], crop: int) -> None:
        self._proteins = proteins
        lengths = np.array([len(tokens) for tokens in proteins])
        widths = np.minimum(lengths // _STEP * _STEP, crop)
        self._members: dict[int, NDArray[np.int64]] = {}
        for width in np.unique(widths[widths >= _NARROWEST]).tolist():
            members = np.flatnonzero(widths == width)
            # Every residue is drawn about equally often: a long protein has several windows.
            self._members[width] = members.repeat(-(-lengths[members] // width))
        tokens = np.array([width * len(members) for width, members in self._members.items()])
        self._share = tokens / tokens.sum()

    def draw(self, generator: np.random.Generator, tokens: int) -> Batch:
        """A batch of at most so many tokens."""
        width = int(generator.choice(list(self._members), p=self._share))
        chosen = generator.choice(self._members[width], size=tokens // width)
        windows = np.empty((len(chosen), width), dtype=np.int64)
        for row, protein in zip(windows, chosen.tolist(), strict=True):
            whole = self._proteins[protein]
            start = int(generator.integers(len(whole) - width + 1))
            row[:] = whole[start : start + width]
        return hide(windows, generator, LEARNING)


def hide(
    tokens: NDArray[np.int64], generator: np.random.Generator, fates: tuple[float, float]
) -> Batch:
    """Choose 15 % of the natural residues of a batch for the model to name.

    Source: Devlin et al. 2019, arXiv:1810.04805; 15 %, 80/10/10 as in Lin et al. 2023.
    """
    flat = tokens.ravel().copy()
    natural = natural_residues(flat)
    picked = np.sort(
        generator.choice(natural, size=max(1, round(_PICKED * len(natural))), replace=False)
    )
    targets = flat[picked]
    masked, replaced_share = fates
    fate = generator.random(len(picked))
    flat[picked[fate < masked]] = MASK
    replaced = picked[(fate >= masked) & (fate < masked + replaced_share)]
    first, end = AMINO_ACID_COLUMNS.start, AMINO_ACID_COLUMNS.stop
    flat[replaced] = generator.integers(first, end, size=len(replaced))
    return Batch(flat.reshape(tokens.shape), picked, targets)


def hidden_once(proteins: Sequence[NDArray[np.uint8]]) -> list[Batch]:
    """Each protein with 15 % of its natural residues masked, the same ones at every call."""
    generator = np.random.default_rng(_HELD_OUT_SEED)
    return [hide(tokens[None].astype(np.int64), generator, TESTING) for tokens in proteins]


def natural_residues(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where one of the 20 natural amino acids stands."""
    natural = (tokens >= AMINO_ACID_COLUMNS.start) & (tokens < AMINO_ACID_COLUMNS.stop)
    return np.flatnonzero(natural)
