"""The logo of masked residues: each letter as high as it is probable, the most probable on top.

1 ┤  L      V
  │  L      V
  │  M      I
0 ┤  V      L
     4      17      position in the sequence
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from logomaker import Glyph
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from esm2.alphabet import AMINO_ACIDS
from esm2.plots.style import CHEMISTRY, NORMAL, Ink, as_float, drawing, write_title
from esm2.types import Float

_COLUMNS = 24  # positions in a row
_COLUMN = 0.36  # inches
_ROW = 1.9
_LEAST_COLUMNS = 9  # room for the legend
_FONT = "DejaVu Sans"  # comes with matplotlib: the same letters on every machine

#: Letters less probable than this are too flat to be read, and left blank.
_VISIBLE = 0.01


def logo(
    probabilities: Float,
    positions: Sequence[int],
    path: str | Path,
    *,
    title: str,
    dark: bool = False,
) -> None:
    """Draw the probability of each amino acid at masked residues.

    Args:
        probabilities: (m, 20), columns `alphabet.AMINO_ACIDS`.
        positions: of the m residues, counted from 1.
        path: of the picture, PNG or SVG by its ending.
        dark: dark paper.

    Raises:
        ValueError: a wrong shape or ending.
        FileError: the picture cannot be written.
    """
    probabilities = as_float(probabilities, (len(positions), len(AMINO_ACIDS)), "probabilities")
    rows = -(-len(positions) // _COLUMNS)
    columns = max(_LEAST_COLUMNS, min(len(positions), _COLUMNS))
    size = (1.2 + _COLUMN * columns, 1.1 + _ROW * rows)
    with drawing(path, size, dark=dark) as (figure, ink):
        figure.set_layout_engine("constrained")
        for row in range(rows):
            own = slice(row * _COLUMNS, (row + 1) * _COLUMNS)
            axes = figure.add_subplot(rows, 1, row + 1)
            _draw_columns(axes, probabilities[own], ink)
            axes.set(xlim=(-0.5, columns - 0.5), ylim=(0, 1), ylabel="probability")
            axes.set_xticks(range(len(positions[own])), [str(p) for p in positions[own]])
            axes.tick_params(axis="x", length=0)
            axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("residue")
        handles = [Patch(color=_colour(group, ink), label=group[0]) for group in CHEMISTRY]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles) // 2,
            fontsize=NORMAL,
        )
        write_title(figure, title)


def _draw_columns(axes: Axes, probabilities: Float, ink: Ink) -> None:
    colours = {letter: _colour(group, ink) for group in CHEMISTRY for letter in group[1]}
    for column, row in enumerate(probabilities):
        floor = 0.0
        for index in np.argsort(row, kind="stable"):
            ceiling = floor + float(row[index])
            if row[index] >= _VISIBLE:
                letter = AMINO_ACIDS[index]
                Glyph(
                    *(column, letter, floor, ceiling),
                    ax=axes,
                    width=0.9,
                    font_name=_FONT,
                    color=colours[letter],
                )
            floor = ceiling


def _colour(group: tuple[str, str, str, str], ink: Ink) -> str:
    return group[3] if ink.dark else group[2]
