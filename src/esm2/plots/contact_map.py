"""The contact map: predicted, or predicted below the diagonal and true above it.

    without a structure            with one
    ┌──────────────┐               ┌──────────────┐
    │ \\   same    │               │ \\  o  +     │   above: dots, the contacts of the structure
    │   \\         │               │   \\   o     │          and what was predicted wrongly
    │ p   \\       │               │ p   \\       │   below: p, the probabilities
    │       \\     │               │       \\     │
    └──────────────┘               └──────────────┘

The dots are those of fair-esm's `plot_contacts_and_predictions` (examples/contact_prediction.ipynb
of facebookresearch/esm), with residue 1 at the top left, as matrices are written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from esm2.plots.style import Ink, as_float, drawing, finish_bar, residue_ticks, write_title
from esm2.types import Float

# Inches: of the map, of each residue in it, and what is around it.
_LEAST, _MOST, _RESIDUE = 5.2, 12.0, 0.01
_RIGHT, _ABOVE, _LEGEND = 1.6, 0.9, 0.6
_POINTS = 72  # of an inch
_DOT = (1.6, 6.0)  # least and greatest size, points
_STRIPE = 0.35  # opacity
_LEAST_SEPARATION = 6


def contact_map(
    contacts: Float,
    path: str | Path,
    *,
    title: str,
    truth: NDArray[np.bool_] | None = None,
    known: NDArray[np.bool_] | None = None,
    dark: bool = False,
) -> None:
    """Draw which residues are predicted to touch.

    With a structure, the upper triangle has its contacts at least 6 residues apart as dots, and
    tells which of them are among the L most probable pairs, and which of those pairs are none.

    Args:
        contacts: (L, L) probabilities, symmetric.
        path: of the picture, PNG or SVG by its ending.
        truth: bool (L, L), the contacts of a structure; None draws no dots.
        known: bool (L,), residues with coordinates in it; None is all.
        dark: dark paper.

    Raises:
        ValueError: a wrong shape or ending.
        FileError: the picture cannot be written.
    """
    residues = len(contacts)
    contacts = as_float(contacts, (residues, residues), "contacts")
    side = float(np.clip(_RESIDUE * residues, _LEAST, _MOST))
    size = (side + _RIGHT, side + _ABOVE + (0 if truth is None else _LEGEND))
    with drawing(path, size, dark=dark) as (figure, ink):
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        shown = contacts
        if truth is not None:
            shown = np.ma.masked_where(np.triu(np.ones_like(contacts, dtype=bool), 1), contacts)
        image = axes.imshow(
            shown,
            cmap=ink.probability if truth is None else ink.tint,
            vmin=0,
            vmax=1,
            extent=_edges(residues),
            # A huge map has less than a pixel for a pair, and is averaged.
            interpolation="nearest" if side < _MOST else "antialiased",
        )
        if truth is not None:
            truth = np.asarray(truth, dtype=bool)
            known = np.ones(residues, dtype=bool) if known is None else np.asarray(known, bool)
            dot = float(np.clip(_POINTS * side / residues, *_DOT))
            _draw_structure(axes, contacts, truth, known, dot=dot, ink=ink)
            figure.legend(
                title="Below the diagonal: predicted. Above: the structure, pairs 6 or more apart.",
                loc="outside lower center",
                ncols=2,
                markerscale=_DOT[1] / dot,
            )
        axes.set(xlabel="residue", ylabel="residue")
        residue_ticks(axes, 1, residues, "x")
        residue_ticks(axes, 1, residues, "y")
        finish_bar(figure.colorbar(image, ax=axes, shrink=0.8), "contact probability")
        write_title(figure, title)


def _edges(residues: int) -> tuple[float, float, float, float]:
    """Residues are counted from 1, and the first is at the top left."""
    return 0.5, residues + 0.5, residues + 0.5, 0.5


def _draw_structure(
    axes: Axes,
    contacts: Float,
    truth: NDArray[np.bool_],
    known: NDArray[np.bool_],
    *,
    dot: float,
    ink: Ink,
) -> None:
    """The dots of the upper triangle, and stripes where the structure has no coordinates."""
    residues = len(contacts)
    both_known = np.logical_and.outer(known, known)
    pairs = np.triu(both_known, _LEAST_SEPARATION)
    i, j = np.nonzero(pairs)
    best = np.argsort(-contacts[i, j], kind="stable")[:residues]
    top = np.zeros_like(pairs)
    top[i[best], j[best]] = True

    for mask, colour, marker, label in (
        (truth & pairs & ~top, ink.missed, "s", "contact that was missed"),
        (truth & top, ink.hit, "s", "contact, among the L most probable pairs"),
        (~truth & top, ink.wrong, "x", "no contact, among the L most probable pairs"),
    ):
        rows, columns = np.nonzero(mask)
        axes.scatter(
            columns + 1,
            rows + 1,
            s=dot**2,
            c=colour,
            marker=marker,
            linewidths=0 if marker == "s" else dot / 5,
            label=f"{label} ({len(rows)})",
        )
    unknown = np.triu(~both_known, 1)
    if unknown.any():
        stripes = np.ma.masked_where(~unknown, unknown)
        colours = ListedColormap([ink.faint])
        axes.imshow(
            stripes,
            cmap=colours,
            alpha=_STRIPE,
            extent=_edges(residues),
            interpolation="nearest",
        )
        axes.fill([], [], color=ink.faint, alpha=_STRIPE, label="not in the structure")
    axes.axline((0, 0), slope=1, color=ink.faint, linewidth=0.6)
    axes.set(xlim=(0.5, residues + 0.5), ylim=(residues + 0.5, 0.5))
