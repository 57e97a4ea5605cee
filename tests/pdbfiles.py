"""PDB text, written by hand: a hairpin of ideal residues, and whatever a test adds to it.

    strand   1  2  3 ... 12        C-alpha atoms 3.8 Angstrom apart,
             24 23 22 ... 13       the strands 5 Angstrom apart

Residues i and 25 - i face each other: their C-beta atoms are 5 Angstrom apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

SEQUENCE = "MKTAYIAKQRGWGELVSTDFNHPC"
THREE = {
    **{"A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU"},
    **{"G": "GLY", "H": "HIS", "I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE"},
    **{"P": "PRO", "S": "SER", "T": "THR", "W": "TRP", "Y": "TYR", "V": "VAL"},
}

#: Atoms of a residue around its C-alpha, Angstrom; the C of one is 1.3 from the N of the next.
ATOMS = {
    "N": np.array([-1.25, 0.0, 0.0]),
    "CA": np.zeros(3),
    "C": np.array([1.25, 0.0, 0.0]),
    "CB": np.array([0.0, 0.0, 1.53]),
}


def hairpin(index: int) -> tuple[np.ndarray, float]:
    """Where the C-alpha of residue `index` (from 0) is, and in which direction its strand runs."""
    half = len(SEQUENCE) // 2
    if index < half:
        return np.array([3.8 * index, 0.0, 0.0]), 1.0
    return np.array([3.8 * (2 * half - 1 - index), 5.0, 0.0]), -1.0


def residue(
    index: int,
    name: str,
    *,
    number: str | None = None,
    chain: str = "A",
    hetero: bool = False,
    atoms: Iterable[str] = ATOMS,
    shift: float = 0.0,
    altloc: str = " ",
    occupancy: float = 1.0,
) -> str:
    """Lines of one residue at a place of the hairpin.

    Args:
        number: residue number with its insertion code, "27" or "27A"; its place if not given.
        shift: Angstrom out of the plane, up.
    """
    place, direction = hairpin(index)
    text = number or str(index + 1)
    code = text[-1] if text[-1].isalpha() else " "
    lines = []
    for atom in atoms:
        if name == "GLY" and atom == "CB":
            continue
        x, y, z = place + ATOMS[atom] * [direction, 1, 1] + [0, 0, shift]
        lines.append(
            f"{'HETATM' if hetero else 'ATOM':<6}{1:>5}  {atom:<3}{altloc}{name:>3} {chain}"
            f"{text.removesuffix(code):>4}{code}   {x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{0:6.2f}"
            f"          {atom[0]:>2}\n"
        )
    return "".join(lines)


def chain_text(sequence: str = SEQUENCE, *, chain: str = "A", missing: Iterable[int] = ()) -> str:
    """The whole hairpin, without the residues at the places `missing`."""
    absent = set(missing)
    return "".join(
        residue(index, THREE[letter], chain=chain)
        for index, letter in enumerate(sequence)
        if index not in absent
    )
