"""Pictures, read back: the texts of an SVG with their places, and the colours of a PNG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib import image
from matplotlib.colors import to_rgb

POINTS, DPI = 72, 160  # of an inch, in an SVG and in a PNG


@dataclass(frozen=True)
class Text:
    """A text of a picture: its anchor's place in points from the top left."""

    text: str
    x: float
    y: float
    anchor: str
    size: float


class Drawn:
    """A picture: an SVG for its texts and, where it is asked for, a PNG for its colours."""

    def __init__(self, directory: Path, draw: Callable[[Path], None]) -> None:
        self._directory = directory
        self._draw = draw
        draw(directory / "x.svg")
        root = ET.parse(directory / "x.svg").getroot()
        self.width, self.height = map(float, root.get("viewBox").split()[2:])
        self.texts = [text(node) for node in root.iter("{http://www.w3.org/2000/svg}text")]

    @cached_property
    def pixels(self) -> np.ndarray:
        self._draw(self._directory / "x.png")
        return image.imread(self._directory / "x.png")[:, :, :3]

    def at(self, x: float, y: float) -> np.ndarray:
        """The colour at a place in points, 0..1."""
        return self.pixels[round(y * DPI / POINTS), round(x * DPI / POINTS)]

    def has(self, colour: str, x: float, y: float) -> bool:
        """Whether a dot of that colour is at a place."""
        left, top = round(x * DPI / POINTS), round(y * DPI / POINTS)
        around = self.pixels[top - 4 : top + 5, left - 4 : left + 5]
        return bool((np.abs(around - rgb(colour)).max(axis=2) < 0.05).any())

    def words(self) -> list[str]:
        return [label.text for label in self.texts]

    def column(self, label: str, *, top: bool = False) -> float:
        """x of a label that stands above or below a picture."""
        found = [t for t in self.texts if t.text == label and t.anchor == "middle"]
        return sorted(found, key=lambda t: t.y)[0 if top else -1].x

    def row(self, label: str) -> float:
        """y of the middle of a label at the left."""
        (found,) = (t for t in self.texts if t.text == label and t.anchor == "end")
        return found.y - 0.36 * found.size  # digits and capitals stand on y


def text(node: ET.Element) -> Text:
    style = node.get("style")
    size = float(re.search(r"font(?:-size)?: ([\d.]+)px", style)[1])
    anchor = re.search(r"text-anchor: (\w+)", style)
    place = node.get("x"), node.get("y")
    if place[0] is None:
        place = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", node.get("transform")).groups()
    x, y = map(float, place)
    return Text("".join(node.itertext()), x, y, anchor[1] if anchor else "start", size)


def rgb(colour: str) -> np.ndarray:
    return np.array(to_rgb(colour))
