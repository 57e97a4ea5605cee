"""Structures: the contacts that are there, and how many of them a map has found.

    PDB, mmCIF, BinaryCIF ──read_chain──> Chain: letters, C-beta coordinates
                                            │ align      which of its residues is residue i?
    sequence, L residues ───────────────────┤
                                            └─ true_contacts ─> truth (L, L), known (L,)
    contacts (L, L) ──────────────────── precisions ────────────────┘

A residue without coordinates is not known, which is not the same as not touching: pairs with one
are neither right nor wrong and take no part. Everything is in residues of the sequence, from 0.

Source: Rao et al. 2021, doi:10.1101/2020.12.15.422761 (contacts, ranges and precision).
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esm2.errors import FileError, InvalidStructure, MissingExtra
from esm2.types import Float

if TYPE_CHECKING:
    from biotite.structure import AtomArray

#: Formats of structures, by the ending of the file, `.gz` aside.
FORMATS = {".pdb": "PDB", ".ent": "PDB", ".cif": "mmCIF", ".mmcif": "mmCIF", ".bcif": "BinaryCIF"}

CONTACT = 8.0  # Angstrom
SEPARATION = 6

#: Ranges of pairs: name, least and greatest separation along the chain.
RANGES = (("long", 24, None), ("medium", 12, 23), ("short", 6, 11), ("all", SEPARATION, None))

_GZIP = b"\x1f\x8b"
_PEPTIDE_BOND = 2.0  # Angstrom, generously: 1.33 in a good structure
_LEAST_IDENTITY = 0.9
_LEAST_ALIGNED = 0.5  # of the shorter of the two
_GAP = (-10, -1)  # open, extend: the usual ones for BLOSUM62


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The residues of one chain that a structure has coordinates of, in their order.

    Attributes:
        source: the file.
        name: of the chain, as its authors call it.
        sequence: n letters; a modified residue has the letter of its parent (MSE is M), X is one
            that has none.
        numbers: int (n,), residue numbers as in the file.
        coordinates: float32 (n, 3) in Angstrom: C-beta, C-alpha of glycine. A missing C-beta
            stands where N, C-alpha and C would have it; NaN without those.
    """

    source: Path
    name: str
    sequence: str
    numbers: NDArray[np.int_]
    coordinates: Float


@dataclass(frozen=True, slots=True)
class Precision:
    """How many of the most probable pairs of a range are contacts.

    Attributes:
        name: of the range; `first` and `last` are its least and greatest separation, None is any.
        contacts: true contacts in the range.
        at: for L, L/2 and L/5 pairs: the share that are contacts; None if there is no pair.
    """

    name: str
    first: int
    last: int | None
    contacts: int
    at: tuple[float | None, ...]


# --- a file ------------------------------------------------------------------------------------


def read_chain(path: Path, name: str | None = None) -> Chain:
    """A protein chain of the first model of a structure.

    Of alternative locations the one with the highest occupancy is taken. Amino acids that are not
    bonded to a neighbour are ligands, and left out.

    Args:
        path: PDB, mmCIF or BinaryCIF by its ending (`FORMATS`), plain or gzip whatever its name.
        name: of the chain; needed if there are several.

    Raises:
        InvalidStructure: the file is damaged, has no such chain, or has several and none is named.
        FileError: it cannot be read.
        MissingExtra: biotite is not installed.
    """
    protein = _protein(path)
    names = list(dict.fromkeys(protein.chain_id.tolist()))
    if not names:
        raise InvalidStructure(path, "there is no protein in it")
    if name is None:
        if len(names) > 1:
            raise InvalidStructure(path, f"it has chains {', '.join(names)}; name one of them")
        (name,) = names
    if name not in names:
        raise InvalidStructure(path, f"it has no protein chain {name}, only {', '.join(names)}")
    return _chain(path, name, protein[protein.chain_id == name])


def _protein(path: Path) -> AtomArray:
    """The amino acids of the first model."""
    with _biotite():
        from biotite.structure import filter_amino_acids
        from biotite.structure.io import pdb, pdbx
    kind = FORMATS.get(Path(path.name.lower().removesuffix(".gz")).suffix)
    if kind is None:
        raise InvalidStructure(path, f"its ending is none of {', '.join(FORMATS)}")
    data = _bytes(path)
    try:
        if kind == "BinaryCIF":
            file = pdbx.BinaryCIFFile.read(io.BytesIO(data))
            atoms = pdbx.get_structure(file, model=1, altloc="occupancy")
        elif kind == "mmCIF":
            file = pdbx.CIFFile.read(io.StringIO(data.decode("latin-1")))
            atoms = pdbx.get_structure(file, model=1, altloc="occupancy")
        else:
            file = pdb.PDBFile.read(io.StringIO(data.decode("latin-1")))
            atoms = pdb.get_structure(file, model=1, altloc="occupancy")
        return atoms[filter_amino_acids(atoms)]
    except Exception as error:  # a parser of foreign files may stumble in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidStructure(path, f"it cannot be read as {kind} ({reason})") from error


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(path, "read", error.strerror or str(error)) from error
    if not data.startswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = "the compressed data is damaged or cut short"
        raise InvalidStructure(path, reason) from error


@contextmanager
def _biotite() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra("biotite", "structure") from error


def _chain(path: Path, name: str, atoms: AtomArray) -> Chain:
    from biotite.structure import get_residue_starts
    from biotite.structure.info import one_letter_code

    starts = get_residue_starts(atoms)
    owner = np.searchsorted(starts, np.arange(len(atoms)), side="right") - 1
    n, ca, c, cb = (_positions(atoms, atom, owner, len(starts)) for atom in ("N", "CA", "C", "CB"))

    letters = [one_letter_code(residue) or "X" for residue in atoms.res_name[starts]]
    letters = [letter if len(letter) == 1 else "X" for letter in letters]
    glycine = (np.array(letters) == "G")[:, None]
    ideal = np.where(glycine, ca, _ideal_cb(n, ca, c))
    coordinates = np.where(np.isnan(cb) | glycine, ideal, cb)

    bonded = np.linalg.norm(c[:-1] - n[1:], axis=1) < _PEPTIDE_BOND
    linked = np.append(bonded, False) | np.append(False, bonded)
    kept = np.flatnonzero(linked | ~atoms.hetero[starts])
    return Chain(
        path,
        name,
        "".join(letters[index] for index in kept),
        atoms.res_id[starts][kept],
        coordinates[kept].astype(np.float32),
    )


def _positions(
    atoms: AtomArray, name: str, owner: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """Where that atom of each residue is: (count, 3), NaN if it is missing."""
    positions = np.full((count, 3), np.nan)
    of_that_name = atoms.atom_name == name
    positions[owner[of_that_name]] = atoms.coord[of_that_name]
    return positions


def _ideal_cb(
    n: NDArray[np.float64], ca: NDArray[np.float64], c: NDArray[np.float64]
) -> NDArray[np.float64]:
    """C-beta of an ideal residue. Source: trRosetta, Yang et al. 2020, doi:10.1073/pnas.1914677117;
    the numbers are those of its public code."""
    b, d = ca - n, c - ca
    return ca - 0.58273431 * np.cross(b, d) + 0.56802827 * b - 0.54067466 * d


# --- a sequence --------------------------------------------------------------------------------


def align(chain: Chain, sequence: str) -> NDArray[np.intp]:
    """Which residue of a chain each residue of a sequence is.

    Equal sequences are matched one to one. Others are aligned from end to end (BLOSUM62, affine
    gaps, free at both ends), so that loops without coordinates, tags and domains find their place.

    Args:
        sequence: L residues.

    Returns:
        (L,) indices into the chain, -1 where it has no such residue.

    Raises:
        InvalidStructure: the chain is another protein: under 90 % of what is aligned is identical,
            or less than half of the shorter of the two is aligned.
        MissingExtra: biotite is not installed.
    """
    if chain.sequence == sequence:
        return np.arange(len(sequence))
    pairs = _aligned(sequence, chain.sequence)
    letters = [(sequence[i], chain.sequence[j]) for i, j in pairs]
    compared = [(own, theirs) for own, theirs in letters if "X" not in (own, theirs)]
    same = sum(own == theirs for own, theirs in compared)
    shorter = min(len(sequence), len(chain.sequence))
    if same < _LEAST_IDENTITY * len(compared) or len(compared) < _LEAST_ALIGNED * shorter:
        raise InvalidStructure(
            chain.source,
            f"chain {chain.name} is not this protein: of {shorter} residues {len(compared)} can be"
            f" aligned, and {same} of those are identical",
        )
    mapping = np.full(len(sequence), -1)
    mapping[pairs[:, 0]] = pairs[:, 1]
    return mapping


def _aligned(sequence: str, other: str) -> NDArray[np.intp]:
    """The best global alignment with free ends: pairs of indices, (m, 2)."""
    with _biotite():
        from biotite.sequence import ProteinSequence
        from biotite.sequence.align import SubstitutionMatrix, align_optimal
    known = set(ProteinSequence.alphabet.get_symbols()) - {"*"}
    both = (
        ProteinSequence("".join(letter if letter in known else "X" for letter in text))
        for text in (sequence, other)
    )
    (best,) = align_optimal(
        *both,
        SubstitutionMatrix.std_protein_matrix(),
        gap_penalty=_GAP,
        terminal_penalty=False,
        max_number=1,
    )
    trace: NDArray[np.intp] = best.trace
    return trace[(trace >= 0).all(axis=1)]


# --- contacts ----------------------------------------------------------------------------------


def true_contacts(
    chain: Chain, mapping: NDArray[np.intp]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The contacts of a sequence in its structure: C-beta atoms closer than 8 Angstrom.

    Args:
        mapping: (L,) of `align`.

    Returns:
        contacts, bool (L, L), symmetric; and the residues with coordinates, bool (L,).
    """
    coordinates = np.full((len(mapping), 3), np.nan)
    coordinates[mapping >= 0] = chain.coordinates[mapping[mapping >= 0]]
    squared = np.zeros((len(mapping), len(mapping)))
    for axis in coordinates.T:  # one at a time: (L, L, 3) would be three times as large
        squared += np.subtract.outer(axis, axis) ** 2
    return squared < CONTACT**2, np.isfinite(coordinates).all(axis=1)


def ranked_pairs(
    contacts: Float,
    first: int = SEPARATION,
    last: int | None = None,
    known: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of residues, the most probable contact first; equals in order of the sequence.

    Args:
        contacts: (L, L) probabilities, symmetric.
        first, last: least and greatest separation along the chain; None is any.
        known: (L,), the residues to choose from; None is all.

    Returns:
        i and j of each pair, i < j.
    """
    i, j = np.triu_indices(len(contacts), first)
    wanted = np.ones(len(i), dtype=bool) if last is None else j - i <= last
    if known is not None:
        wanted &= known[i] & known[j]
    i, j = i[wanted], j[wanted]
    order = np.argsort(-contacts[i, j], kind="stable")
    return i[order], j[order]


def precisions(
    contacts: Float, truth: NDArray[np.bool_], known: NDArray[np.bool_]
) -> list[Precision]:
    """Precision of the L, L/2 and L/5 most probable pairs of each of `RANGES`.

    L is the length of the sequence, and L/k is rounded down. Where a range has fewer pairs of known
    residues than that, the share is of those there are.

    Args:
        contacts: (L, L) probabilities, symmetric.
        truth, known: of `true_contacts`.
    """
    rows = []
    for name, first, last in RANGES:
        right = truth[ranked_pairs(contacts, first, last, known)]
        tops = (right[: len(contacts) // k] for k in (1, 2, 5))
        at = tuple(float(top.mean()) if top.size else None for top in tops)
        rows.append(Precision(name, first, last, int(right.sum()), at))
    return rows
