"""The heat map of a mutational scan: every position, every amino acid, in rows of 100 positions.

              M K T A Y I A ...        the sequence
aliphatic   A . . . o . . o            o  the residue that is there
            V                          red   below 0: damaging
...                                    blue  above 0: tolerated
special     P
mean          . . . . . . .            over the 19 other amino acids
              1         10
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from esm2.alphabet import AMINO_ACIDS
from esm2.plots.style import (
    CHEMISTRY,
    NORMAL,
    SMALL,
    Ink,
    as_float,
    drawing,
    finish_bar,
    residue_ticks,
    write_title,
)
from esm2.types import Float

_POSITIONS = 100  # in one row of the picture
_LETTERS = "".join(group[1] for group in CHEMISTRY)

# Inches.
_CELL_WIDTH, _CELL_HEIGHT = 0.105, 0.125
_LEFT, _RIGHT, _TOP, _BOTTOM = 1.15, 0.25, 0.95, 0.35
_STRIP, _GAP, _BETWEEN = 0.16, 0.06, 0.6
_LEAST_WIDTH, _TITLE = 7.6, 0.12
_MAP_HEIGHT = _CELL_HEIGHT * len(_LETTERS)
_BLOCK = _MAP_HEIGHT + _GAP + _STRIP


def scan_heatmap(
    sequence: str, scores: Float, path: str | Path, *, title: str, dark: bool = False
) -> None:
    """Draw what each mutation of a protein does.

    Args:
        sequence: L residues, one letter each.
        scores: (20, L) log-odds in nats, rows `alphabet.AMINO_ACIDS`; below 0 is damaging. The
            colours are symmetric around 0, up to the greatest magnitude.
        path: of the picture, PNG or SVG by its ending.
        dark: dark paper.

    Raises:
        ValueError: a wrong shape or ending.
        FileError: the picture cannot be written.
    """
    residues = len(sequence)
    scores = as_float(scores, (len(AMINO_ACIDS), residues), "scores")
    grouped = scores[[AMINO_ACIDS.index(letter) for letter in _LETTERS]]
    wild = np.array([[letter == own for own in sequence] for letter in _LETTERS])
    mean = np.ma.masked_array(grouped, wild).mean(axis=0)
    limit = float(np.abs(scores).max()) or 1.0

    blocks = -(-residues // _POSITIONS)
    width = max(_LEAST_WIDTH, _LEFT + _CELL_WIDTH * min(residues, _POSITIONS) + _RIGHT)
    height = _TOP + blocks * _BLOCK + (blocks - 1) * _BETWEEN + _BOTTOM
    colours = Normalize(-limit, limit)
    with drawing(path, (width, height), dark=dark) as (figure, ink):
        for block in range(blocks):
            first = block * _POSITIONS
            own = slice(first, min(first + _POSITIONS, residues))
            top = height - _TOP - block * (_BLOCK + _BETWEEN)
            across = _CELL_WIDTH * (own.stop - first)

            axes = _axes(figure, _LEFT, top - _MAP_HEIGHT, across, _MAP_HEIGHT)
            image = _colour(axes, grouped[:, own], first, colours, ink)
            _label(axes, sequence[own], first, wild[:, own], ink)

            strip = _axes(figure, _LEFT, top - _BLOCK, across, _STRIP)
            _colour(strip, mean[None, own], first, colours, ink)
            strip.set_yticks([0], ["mean"], fontsize=SMALL)
            strip.tick_params(axis="y", length=0)
            residue_ticks(strip, first + 1, own.stop, "x", step=10)
        strip.set_xlabel("residue", labelpad=1)
        _legend(figure, image, height)
        write_title(figure, title, y=1 - _TITLE / height)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches, from the lower left."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _colour(axes: Axes, scores: Float, first: int, colours: Normalize, ink: Ink) -> AxesImage:
    """Cells of positions that begin after `first`; rows are counted from 0."""
    rows, columns = scores.shape
    return axes.imshow(
        scores,
        cmap=ink.diverging,
        norm=colours,
        aspect="auto",
        interpolation="nearest",
        extent=(first + 0.5, first + columns + 0.5, rows - 0.5, -0.5),
    )


def _label(axes: Axes, letters: str, first: int, wild: np.ndarray, ink: Ink) -> None:
    """The amino acids and their groups at the left, the sequence above, a dot where it stands."""
    axes.set_yticks(range(len(_LETTERS)), list(_LETTERS), fontsize=SMALL)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.set_xticks(range(first + 1, first + 1 + len(letters)), list(letters), fontsize=SMALL - 1)
    axes.tick_params(axis="x", length=0, pad=1, bottom=False, labelbottom=False, labeltop=True)
    rows, columns = np.nonzero(wild)
    axes.scatter(first + 1 + columns, rows, s=4, c=ink.text, linewidths=0)
    edge = -0.5
    for name, group, light, dark in CHEMISTRY:
        middle = edge + len(group) / 2
        axes.annotate(
            name,
            (0, middle),
            xycoords=("axes fraction", "data"),
            xytext=(-16, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=SMALL,
            color=dark if ink.dark else light,
        )
        edge += len(group)
        if edge < len(_LETTERS) - 1:
            axes.axhline(edge, color=ink.faint, linewidth=0.4)


def _legend(figure: Figure, image: AxesImage, height: float) -> None:
    place = _axes(figure, _LEFT, height - 0.58, 2.2, 0.09)
    bar = figure.colorbar(image, cax=place, orientation="horizontal")
    finish_bar(bar, "")
    place.annotate(
        "log-odds, nats: red damaging, blue tolerated; • the residue that is there",
        (1, 0.5),
        xycoords="axes fraction",
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=NORMAL,
    )
