"""The attention map: how much each residue is looked at, layer by layer.

             residue 1 .......................... L
layer 1    [ attention that the residue receives   ]
...        [ mean over heads and over all queries  ]
layer N    [                                       ]
"""

from __future__ import annotations

from pathlib import Path

from esm2.plots.style import as_float, drawing, finish_bar, residue_ticks, write_title
from esm2.types import Float

# Inches. A residue has a pixel at least, or the layers would run into one another.
_LEAST_WIDTH, _MARGINS, _RESIDUE = 7.6, 1.4, 1 / 160
_LEAST_HEIGHT, _LAYER = 1.2, 0.11


def attention_map(attentions: Float, path: str | Path, *, title: str, dark: bool = False) -> None:
    """Draw the attention that each residue receives in each layer.

    Args:
        attentions: (N, L), mean over the heads and over the L + 2 query tokens.
        path: of the picture, PNG or SVG by its ending.
        dark: dark paper.

    Raises:
        ValueError: a wrong shape or ending.
        FileError: the picture cannot be written.
    """
    attentions = as_float(attentions, (None, None), "attentions")
    layers, residues = attentions.shape
    size = (
        _MARGINS + max(_LEAST_WIDTH, _RESIDUE * residues),
        _MARGINS + max(_LEAST_HEIGHT, _LAYER * layers),
    )
    with drawing(path, size, dark=dark) as (figure, ink):
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        image = axes.imshow(
            attentions,
            cmap=ink.probability,
            vmin=0,
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, residues + 0.5, layers + 0.5, 0.5),
        )
        axes.set(xlabel="residue", ylabel="layer")
        residue_ticks(axes, 1, residues, "x")
        residue_ticks(axes, 1, layers, "y")
        bar = figure.colorbar(image, ax=axes, pad=0.01)
        finish_bar(bar, "attention received\n(share of a query's attention)")
        write_title(figure, title)
