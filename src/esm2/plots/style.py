"""What all pictures share: paper, ink, colour maps, ticks, and how a file is made.

    with drawing("x.svg", (7, 6), dark=False) as (figure, ink):
        ...                     draw with matplotlib's objects
                                written when the block ends well

matplotlib's settings are global, so one picture is drawn at a time, under its own settings.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from esm2.errors import FileError

#: Endings of pictures.
SUFFIXES = (".png", ".svg")

SMALL, NORMAL, LARGE = 6.5, 8.0, 10.0  # points
_DPI = 160
_LONGEST_TITLE = 90
_MOST_TICKS = 13
_ONE_AT_A_TIME = threading.Lock()

#: The 20 amino acids by chemistry: group, its letters, its colour on light and on dark paper.
CHEMISTRY = (
    ("aliphatic", "AVILM", "#2d6a4f", "#74c69d"),
    ("aromatic", "FWY", "#8a5a00", "#e9b44c"),
    ("polar", "STNQ", "#6a3d9a", "#c9a6ea"),
    ("positive", "KRH", "#1f5fbf", "#7fb2ff"),
    ("negative", "DE", "#c0262d", "#ff8078"),
    ("special", "CGP", "#555555", "#b8b8b8"),
)


@dataclass(frozen=True, slots=True)
class Ink:
    """The colours of a picture.

    Attributes:
        paper, text, faint: background, writing, and what should not be looked at first.
        probability: colour map of probabilities, 0 to 1.
        tint: the same for what dots are drawn beside; 0 is the colour of the paper.
        diverging: red below 0, blue above; 0 is nearly the colour of the paper.
        hit, wrong, missed: what was found, found wrongly, and not found.
        dark: whether the paper is.
    """

    paper: str
    text: str
    faint: str
    probability: Colormap
    tint: Colormap
    diverging: Colormap
    hit: str
    wrong: str
    missed: str
    dark: bool


def _ink(dark: bool) -> Ink:
    from matplotlib import colormaps

    ramp = LinearSegmentedColormap.from_list
    if not dark:
        return Ink(
            paper="#ffffff",
            text="#1b1f24",
            faint="#b4bac2",
            probability=colormaps["viridis"],
            tint=ramp("tint", ["#ffffff", "#9ecae1", "#2171b5", "#08306b"]),
            diverging=colormaps["RdBu"],
            hit="#1f5fbf",
            wrong="#d62728",
            missed="#9aa1aa",
            dark=False,
        )
    return Ink(
        paper="#14171c",
        text="#e6e8eb",
        faint="#6b737d",
        probability=colormaps["viridis"],
        tint=ramp("tint", ["#14171c", "#1d4f80", "#5aa3dc", "#e3f1ff"]),
        diverging=ramp("diverging", ["#ffb3a7", "#d6453d", "#2a2d33", "#3f83cf", "#b3d7ff"]),
        hit="#7fb2ff",
        wrong="#ff6b5e",
        missed="#98a1ac",
        dark=True,
    )


@contextmanager
def drawing(
    path: str | Path, size: tuple[float, float], *, dark: bool
) -> Iterator[tuple[Figure, Ink]]:
    """A figure to draw on, written to a file when the block ends well.

    Args:
        path: of the file, PNG or SVG by its ending.
        size: width and height in inches.
        dark: dark paper.

    Raises:
        ValueError: the ending is another; nothing was drawn.
        FileError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} does not end in {' or '.join(SUFFIXES)}")
    ink = _ink(dark)
    image = io.BytesIO()
    with _ONE_AT_A_TIME, style.context(["default", _settings(ink)]):
        figure = Figure(figsize=size)
        yield figure, ink
        kind = path.suffix.lower().removeprefix(".")
        undated = {"Date": None} if kind == "svg" else None
        figure.savefig(image, format=kind, metadata=undated)
    try:
        path.write_bytes(image.getbuffer())
    except OSError as error:
        raise FileError(path, "write", error.strerror or str(error)) from error


def _settings(ink: Ink) -> dict[str, object]:
    return {
        "figure.facecolor": ink.paper,
        "savefig.facecolor": ink.paper,
        "axes.facecolor": ink.paper,
        "axes.edgecolor": ink.faint,
        "axes.labelcolor": ink.text,
        "text.color": ink.text,
        "xtick.color": ink.faint,
        "ytick.color": ink.faint,
        "xtick.labelcolor": ink.text,
        "ytick.labelcolor": ink.text,
        "font.size": NORMAL,
        "axes.labelsize": NORMAL,
        "axes.titlesize": LARGE,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "savefig.dpi": _DPI,
        "figure.dpi": _DPI,
        "svg.fonttype": "none",  # text stays text: it can be searched and edited
        "svg.hashsalt": "esm2",  # without a salt, ids in the file are random
    }


def write_title(figure: Figure, title: str, y: float | None = None) -> None:
    """The title of a picture, cut if it is too long, with no letter taken for mathematics.

    Args:
        y: its top, in figures from below; None leaves it to the layout.
    """
    cut = title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"
    place = {} if y is None else {"y": y}
    figure.suptitle(cut, fontsize=LARGE, parse_math=False, **place)


def residue_ticks(axes: Axes, first: int, last: int, which: str, step: int | None = None) -> None:
    """Ticks at round residue numbers, counted from 1, and at the first of them.

    Args:
        first, last: of the residues on that axis.
        which: "x" or "y".
        step: residues between ticks; None is as many as there is room for.
    """
    if step is None:
        rough = (last - first + 1) / _MOST_TICKS
        step = next(s for k in range(9) for s in (10**k, 2 * 10**k, 5 * 10**k) if s >= rough)
    round_ones = np.arange(-(-first // step) * step, last + 1, step)
    far = [int(tick) for tick in round_ones if tick - first > step / 2]
    axes.set(**{f"{which}ticks": [first, *far]})


def finish_bar(bar: Colorbar, label: str) -> None:
    """The legend of a colour map, with its unit."""
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=SMALL, length=2)


def as_float(array: object, shape: Sequence[int | None], name: str) -> np.ndarray:
    """An array of that shape, None being any length; ValueError otherwise."""
    values = np.asarray(array, dtype=np.float32)
    fits = len(values.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, values.shape, strict=True)
    )
    if not fits or not values.size:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} has shape {values.shape}; it must be ({wanted}) and not empty")
    return values
