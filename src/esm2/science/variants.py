"""Variants of a protein: what people write, and where it stands in the sequence.

    "A24G"  "p.Ala24Gly"  "A24G:D30N"  ── parse ──>  Variant  ── place ──>  Sites

    wild type   H  P  E  T  L ...        H24C with offset 23
    position   24 25 26 27 28            index = 24 - 23 - 1 = 0
    index       0  1  2  3  4

The offset is what is subtracted from a written position to get the 1-based residue of the sequence
at hand. Sites exist only where every wild-type letter is the letter of the sequence: a numbering
that does not fit is refused, never guessed in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from esm2.alphabet import TOKENS, residue_tokens
from esm2.arguments import whole
from esm2.errors import InvalidRequest, InvalidVariant, OffsetNotFound

#: The offset itself, or "auto" to find it.
Offset = SupportsIndex | Literal["auto"]

Integers = NDArray[np.int64]
Tokens = NDArray[np.uint8]

# The amino acids that a variant can name: the 20 natural ones and X B U Z O.
_TOKEN_OF = {
    letter: token for token, letter in enumerate(TOKENS) if len(letter) == 1 and letter.isalpha()
}
_LETTER_OF: dict[str, str] = dict(
    re.findall(
        "(...)(.)",
        "AlaAArgRAsnNAspDCysCGlnQGluEGlyGHisHIleILeuLLysKMetMPheFProPSerSThrTTrpWTyrYValV"
        "SecUPylOXaaXAsxBGlxZ",
    )
)

#: What may stand between the substitutions of a variant.
SEPARATORS = re.compile("[:,/;]")
# HGVS writes the same residue again as "=".
_SUBSTITUTION = re.compile(r"([A-Z](?:[a-z]{2})?)(-?[0-9]{1,9})([A-Z](?:[a-z]{2})?|=)")
# A list of them, and what is predicted and not observed: p.[(Ala24Gly;Asp30Asn)].
_BRACKETS = re.compile(r"\[([^\[\]]*)\]|\(([^()]*)\)")
_INDEL = re.compile(r"ins|del|dup|fs|ext|-$")
_STOP = re.compile(r"\*|Ter")
#: How tables name the row of the wild type itself: MaveDB and Enrich2.
_WILD_TYPES = ("wt", "_wt", "p.=", "p.(=)")

#: Of an offset, either way: as many digits as positions have.
FARTHEST = 10**9
# Faulty variants that a refusal names.
_TOLD = 5
# With fewer positions than this, an offset can match by chance: a random residue is the right one
# with a probability of about 1/17.
_ENOUGH_POSITIONS = 5


@dataclass(frozen=True, slots=True)
class Substitution:
    """One residue for another.

    Attributes:
        wt: letter of the wild type.
        position: as written, usually from 1.
        mt: letter of the mutant; that of the wild type where it is synonymous.
    """

    wt: str
    position: int
    mt: str


@dataclass(frozen=True, slots=True)
class Variant:
    """Substitutions that occur together, none for the wild type itself.

    Attributes:
        text: as written.
    """

    text: str
    substitutions: tuple[Substitution, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """The S substitutions of n variants, one after another, where they stand in a sequence.

    Attributes:
        count: n.
        offset: the offset with which they do.
        variant: int64 (S,), the variant of each, ascending.
        index: int64 (S,), 0-based residue.
        wild, mutant: uint8 (S,), tokens.
    """

    count: int
    offset: int
    variant: Integers
    index: Integers
    wild: Tokens
    mutant: Tokens


def parse(text: str) -> Variant:
    """A variant as people write it.

    `A24G`, `p.Ala24Gly`, predicted `p.(Ala24Gly)`, several separated by `:`, `,`, `/` or `;` (also
    `p.[Ala24Gly;Asp30Asn]`), white space around them; `WT`, `_wt` and `p.=` are the wild type.

    Raises:
        InvalidVariant: it is no substitution of residues by residues, or has a position twice.
    """
    plain = text.strip()
    if plain.lower() in _WILD_TYPES:
        return Variant(text, ())
    plain = _bare(plain)
    parts = [_substitution(part.strip(), text) for part in SEPARATORS.split(plain)]
    if len({part.position for part in parts}) < len(parts):
        raise InvalidVariant(text, "it has a position twice; write each position once")
    return Variant(text, tuple(parts))


def _substitution(part: str, text: str) -> Substitution:
    found = _SUBSTITUTION.fullmatch(_bare(part))
    if found is None:
        raise InvalidVariant(text, _why_not(part))
    wt, position, mt = found.groups()
    if mt == "=":
        mt = wt
    letters = []
    for name in (wt, mt):
        letter = _LETTER_OF.get(name, name)
        if letter not in _TOKEN_OF:
            raise InvalidVariant(text, _why_not(part) if name == "Ter" else _no_residue(name))
        letters.append(letter)
    return Substitution(letters[0], int(position), letters[1])


def _bare(text: str) -> str:
    """What HGVS has in its brackets."""
    text = text.removeprefix("p.")
    while found := _BRACKETS.fullmatch(text):
        text = found[1] or found[2] or ""
    return text


def _no_residue(name: str) -> str:
    return f"{name!r} is no amino acid; they are ACDEFGHIKLMNPQRSTVWY, X B U Z O"


def _why_not(part: str) -> str:
    """What is wrong with a part that is no substitution."""
    if not part:
        return "it is empty; write a substitution such as A24G"
    if _INDEL.search(part):
        return "insertions and deletions cannot be scored, only substitutions such as A24G"
    if _STOP.search(part):
        return "a stop codon cannot be scored, only substitutions such as A24G"
    if _SUBSTITUTION.fullmatch(part.upper()):
        return "write amino acids in upper case, such as A24G"
    return "it is no substitution; write A24G or p.Ala24Gly, and several as A24G:D30N"


# --- where they stand --------------------------------------------------------------------------


def place(
    variants: Sequence[str],
    tokens: Tokens,
    offset: Offset = 0,
    named: Callable[[int], str] = "variants[{}]".format,
) -> Sites:
    """Where variants stand in a wild type.

    Args:
        variants: as people write them.
        tokens: uint8 (L + 2,), the wild type.
        offset: subtracted from each position to get the 1-based residue; "auto" takes 0 where
            every letter matches, or else the only offset with which every letter does.
        named: index of a variant -> its place, for refusals.

    Raises:
        InvalidRequest: variants that cannot be read or do not match, the first of them at their
            places, with the code of InvalidVariant.
        OffsetNotFound: "auto", and there is no such offset, or more than one.
        TypeError, ValueError: it is no offset.
    """
    offset = checked_offset(offset)
    faults: dict[int, InvalidVariant] = {}
    parsed = []
    for number, text in enumerate(variants):
        try:
            parsed.append(parse(text))
        except InvalidVariant as error:
            faults[number] = error
            parsed.append(Variant(text, ()))
    if faults and offset == "auto":  # what cannot be read has no say in where the rest stands
        raise _refusal(faults, named)
    flat = [(number, part) for number, own in enumerate(parsed) for part in own.substitutions]
    variant = np.array([number for number, _ in flat], dtype=np.int64)
    position = np.array([part.position for _, part in flat], dtype=np.int64)
    wild = np.array([_TOKEN_OF[part.wt] for _, part in flat], dtype=np.uint8)
    mutant = np.array([_TOKEN_OF[part.mt] for _, part in flat], dtype=np.uint8)
    residues = residue_tokens(tokens)
    if offset == "auto":
        offset = _found_offset(parsed, variant, position, wild, residues)
    wrong = ~_matches(position - offset - 1, wild, residues)
    for site in np.flatnonzero(wrong):
        number = int(variant[site])
        if number not in faults:
            reason = _mismatch(flat[site][1], offset, residues)
            faults[number] = InvalidVariant(parsed[number].text, reason)
    if faults:
        raise _refusal(faults, named)
    return Sites(len(parsed), offset, variant, position - offset - 1, wild, mutant)


def checked_offset(offset: object) -> int | Literal["auto"]:
    """An offset as a program gave it.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(offset, str):
        if offset != "auto":
            raise ValueError(f"offset is {offset[:20]!r}; pass a whole number or 'auto'")
        return "auto"
    number = whole(offset, "offset", "pass a whole number or 'auto'")
    if abs(number) > FARTHEST:
        raise ValueError(f"offset is {number}; it is at most {FARTHEST} either way")
    return number


def _matches(index: Integers, wild: Tokens, residues: Tokens) -> NDArray[np.bool_]:
    """Whether each wild-type letter is the one of the sequence; false outside of it."""
    inside = (index >= 0) & (index < len(residues))
    matching: NDArray[np.bool_] = inside & (residues[np.where(inside, index, 0)] == wild)
    return matching


def _mismatch(part: Substitution, offset: int, residues: Tokens) -> str:
    index = part.position - offset - 1
    numbering = f" with offset {offset}" if offset else ""
    if not 0 <= index < len(residues):
        return (
            f"position {part.position} is outside the protein, whose residues are {1 + offset} to"
            f" {len(residues) + offset}{numbering}; give the offset of the numbering"
        )
    return (
        f"residue {part.position} is {TOKENS[residues[index]]}, not {part.wt}{numbering}; check the"
        " sequence, and the offset of the numbering"
    )


def _refusal(faults: dict[int, InvalidVariant], named: Callable[[int], str]) -> InvalidRequest:
    numbers = sorted(faults)
    told = {named(number): [str(faults[number])] for number in numbers[:_TOLD]}
    if len(faults) > _TOLD:
        told["more"] = [f"{len(faults):,} variants in all cannot be scored"]
    return InvalidRequest(told, InvalidVariant.code)


# --- the offset --------------------------------------------------------------------------------


def _found_offset(
    parsed: Sequence[Variant], variant: Integers, position: Integers, wild: Tokens, residues: Tokens
) -> int:
    """0 if it fits, else the only offset that does.

    Every (position, letter) votes for the offsets at which the sequence has that letter there.
    """
    if _matches(position - 1, wild, residues).all():
        return 0
    pairs, counts = np.unique(position * 256 + wild, return_counts=True)
    offsets, pair_votes, site_votes = [], [], []
    for letter in np.unique(wild):
        own = (pairs & 255) == letter
        places = np.flatnonzero(residues == letter)
        offsets.append(np.subtract.outer((pairs[own] >> 8) - 1, places).ravel())
        pair_votes.append(np.ones(offsets[-1].size))
        site_votes.append(np.repeat(counts[own], places.size))
    candidates, which = np.unique(np.concatenate(offsets), return_inverse=True)
    votes = np.bincount(which, np.concatenate(pair_votes), candidates.size)
    fitting = [int(offset) for offset in candidates[votes == pairs.size]]
    few = np.unique(position).size < _ENOUGH_POSITIONS
    if len(fitting) == 1 and not few:
        return fitting[0]
    best = 0
    if candidates.size:
        best = int(candidates[np.argmax(np.bincount(which, np.concatenate(site_votes)))])
    unfit = {int(number) for number in variant[~_matches(position - best - 1, wild, residues)]}
    first = [parsed[number].text for number in sorted(unfit)[:_TOLD]]
    raise OffsetNotFound(fitting, best, len(parsed) - len(unfit), len(parsed), first)


# --- the wild type -----------------------------------------------------------------------------


def reverted(variant: Variant, mutated: str, offset: int = 0) -> str:
    """The wild type of a mutated sequence.

    Args:
        variant: what was mutated.
        mutated: the sequence with its substitutions in it, as ProteinGym's `mutated_sequence`.
        offset: as in `place`.

    Raises:
        InvalidVariant: the sequence does not have the mutant's letters at these positions.
    """
    letters = list(mutated)
    for part in variant.substitutions:
        index = part.position - offset - 1
        if not 0 <= index < len(letters) or letters[index] != part.mt:
            raise InvalidVariant(
                variant.text, f"its mutated sequence does not have {part.mt} at {part.position}"
            )
        letters[index] = part.wt
    return "".join(letters)
