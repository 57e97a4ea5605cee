"""The sequences that tests run on, by name: lengths, rare letters, and masks of every kind."""

from __future__ import annotations

import random

_LETTERS = "LAGVSERTIDPKQNFYMHWC"
_RARE = "XBUZO.-"


def residues(length: int, *, rare: float = 0.0, masks: float = 0.0, seed: int = 0) -> list[str]:
    """A random protein as a list of residues; `rare` and `masks` are shares of it."""
    source = random.Random(f"{length} {rare} {masks} {seed}")
    chosen = []
    for _ in range(length):
        letters = _RARE if source.random() < rare else _LETTERS
        residue = source.choice(letters)
        chosen.append("<mask>" if source.random() < masks else residue)
    return chosen


def _with_masks(chosen: list[str], *places: int) -> str:
    for place in places:
        chosen[place] = "<mask>"
    return "".join(chosen)


#: Up to 300 residues: every kind of letter and every way to mask.
SEQUENCES = {
    "1 residue": "M",
    "1 gap": "-",
    "1 mask": "<mask>",
    "2 residues": "MK",
    "2 rare": "X.",
    "2, first masked": "<mask>W",
    "50 residues": "".join(residues(50)),
    "50, every letter": (_LETTERS + _RARE) * 2 + "<mask>",
    "50, one mask": _with_masks(residues(50), 20),
    "50, both ends masked": _with_masks(residues(50, rare=0.2), 0, 49),
    "50, all masked": "<mask>" * 50,
    "300, some rare": "".join(residues(300, rare=0.1)),
    "300, many masks": "".join(residues(300, rare=0.1, masks=0.4)),
}

#: The longest that fair-esm was trained on: 1022 residues, 1024 tokens.
LONG_SEQUENCES = {
    "1022, some rare": "".join(residues(1022, rare=0.05)),
    "1022, some masks": "".join(residues(1022, rare=0.05, masks=0.15)),
}
