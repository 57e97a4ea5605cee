"""The 33 tokens of ESM-2, and residues <-> token ids.

    <cls> <pad> <eos> <unk>  L A G V S E R T I D P K Q N F Y M H W C  X B U Z O . -  <null_1> <mask>
      0     1     2     3    4 ............................... 23    24 ........ 30    31      32

A sequence of L residues is L + 2 tokens: <cls> (BOS), the residues, <eos>. Only this module and
`engine/readout.py` know about those two. `<mask>` is one residue, spelled out in the sequence.

Source: Alphabet "ESM-1b" in facebookresearch/esm, esm/data.py; vocab.txt of the hub repositories.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from esm2.arguments import texts
from esm2.errors import (
    EmptySequence,
    InvalidRequest,
    InvalidSequence,
    MaskMissing,
    MaskNotAllowed,
    RequestError,
    SequenceTooLong,
)
from esm2.oddities import tell

TOKENS: tuple[str, ...] = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWC",
    *"XBUZO.-",
    *("<null_1>", "<mask>"),
)
BOS, EOS, MASK = (TOKENS.index(token) for token in ("<cls>", "<eos>", "<mask>"))

#: The 20 natural amino acids in vocabulary order: the columns of logits on the wire.
AMINO_ACID_COLUMNS = slice(4, 24)
AMINO_ACIDS: tuple[str, ...] = TOKENS[AMINO_ACID_COLUMNS]


_MASK_TEXT = "<mask>"
_NO_TOKEN = 255
_TOKEN_OF_BYTE = np.full(256, _NO_TOKEN, dtype=np.uint8)
for _token, _letter in enumerate(TOKENS):
    if len(_letter) == 1:
        _TOKEN_OF_BYTE[ord(_letter)] = _token


#: Whether sequences may have any number of `<mask>`, must have none, or some.
Masks = Literal["any", "none", "some"]


def tokenize(
    sequence: str,
    *,
    masks: Masks = "any",
    max_residues: int | None = None,
) -> NDArray[np.uint8]:
    """Residues to tokens, with BOS and EOS around them.

    Args:
        sequence: residues in upper case, one letter each, or `<mask>`.
        masks: whether there may be any number of `<mask>`, none, or must be some.
        max_residues: the most residues to accept; a `<mask>` is one.

    Returns:
        uint8 (L + 2,).

    Raises:
        TypeError: it is no str.
        EmptySequence: there are no residues.
        InvalidSequence: a letter has no token; it says which and where.
        SequenceTooLong, MaskNotAllowed, MaskMissing: as asked for.
    """
    if not isinstance(sequence, str):
        raise TypeError(f"sequence is {type(sequence).__name__}; pass one str")
    if not sequence:
        raise EmptySequence
    residues = len(sequence) - (len(_MASK_TEXT) - 1) * sequence.count(_MASK_TEXT)
    if max_residues is not None and residues > max_residues:
        raise SequenceTooLong(residues, max_residues)  # before any work is done on it
    pieces: list[NDArray[np.uint8]] = [np.array([BOS], dtype=np.uint8)]
    for number, text in enumerate(sequence.split(_MASK_TEXT)):
        if number:
            pieces.append(np.array([MASK], dtype=np.uint8))
        # One byte a letter: what is not Latin-1 becomes "?", which has no token either.
        tokens = _TOKEN_OF_BYTE[np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)]
        bad = np.flatnonzero(tokens == _NO_TOKEN)
        if bad.size:
            before = sum(len(piece) for piece in pieces) - 1
            letter = text[int(bad[0])]
            raise InvalidSequence(before + int(bad[0]), letter, _advice(sequence, letter))
        pieces.append(tokens)
    pieces.append(np.array([EOS], dtype=np.uint8))
    tokens = np.concatenate(pieces)
    if masks != "any":
        mask = first_mask(tokens)
        if mask is None and masks == "some":
            raise MaskMissing
        if mask is not None and masks == "none":
            raise MaskNotAllowed(mask)
    return tokens


def _advice(sequence: str, letter: str) -> str:
    """What the whole of a sequence tells about a letter without a token; empty if nothing."""
    if letter.islower() and ("-" in sequence or "." in sequence):
        return (
            "it looks like a row of an A3M or A2M alignment, where lower case is an insertion and"
            " '-' and '.' are gaps: for the protein, remove the gaps and write upper case"
        )
    if letter.islower() and any(map(str.isupper, sequence.replace(_MASK_TEXT, ""))):
        return (
            "write residues in upper case (some programs write masked residues or insertions in"
            " lower case)"
        )
    if sequence.startswith(">"):
        return "send the residues without the header line"
    if letter != "<" and ">" in sequence.replace(_MASK_TEXT, ""):
        return (
            "there is a '>' further inside: a header has to begin a line, so a line end is missing"
            " and two records are one"
        )
    return ""


def tokenize_all(
    sequences: Iterable[str], *, masks: Masks, max_residues: int | None = None
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Every sequence of a caller in Python with its tokens, or one refusal naming all faults.

    What is hardly a protein is told (`oddities`).

    Raises:
        TypeError: it is nothing that holds strings in an order; `arguments.texts` has the rules.
        InvalidRequest: naming each faulty sequence as "sequences[i]".
    """
    tokenized, faults, codes = [], {}, set()
    for index, sequence in enumerate(texts(sequences, "sequences")):
        try:
            tokens = tokenize(sequence, masks=masks, max_residues=max_residues)
        except RequestError as error:
            faults[f"sequences[{index}]"] = [str(error)]
            codes.add(error.code)
        else:
            tokenized.append((sequence, tokens))
    if faults:
        raise InvalidRequest(faults, codes.pop() if len(codes) == 1 else InvalidRequest.code)
    tell([sequence for sequence, _ in tokenized])
    return tokenized


def tokenize_one(sequence: str, *, masks: Masks = "none") -> NDArray[np.uint8]:
    """As `tokenize_all`, of one sequence.

    Raises:
        RequestError: it cannot be used.
    """
    tokens = tokenize(sequence, masks=masks)
    tell([sequence])
    return tokens


def residue_tokens(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The residues of a tokenized sequence: (L + 2,) -> (L,)."""
    return tokens[1:-1]


def cut(tokens: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.uint8]:
    """Residues start..stop (0-based, half-open) of a tokenized sequence, as one of their own."""
    return np.concatenate((tokens[:1], residue_tokens(tokens)[start:stop], tokens[-1:]))


def letters(tokens: NDArray[np.uint8]) -> list[str]:
    """Each residue of a tokenized sequence as text: (L + 2,) -> L strings, masks as `<mask>`."""
    return [TOKENS[token] for token in residue_tokens(tokens)]


def first_mask(tokens: NDArray[np.uint8]) -> int | None:
    """0-based residue index of the first `<mask>`, or None."""
    masks = np.flatnonzero(residue_tokens(tokens) == MASK)
    return int(masks[0]) if masks.size else None
