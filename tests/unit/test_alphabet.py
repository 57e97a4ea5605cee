"""The 33 tokens in their published order, and sequences to tokens and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2.alphabet import (
    AMINO_ACID_COLUMNS,
    AMINO_ACIDS,
    BOS,
    EOS,
    MASK,
    TOKENS,
    first_mask,
    letters,
    residue_tokens,
    tokenize,
)
from esm2.errors import (
    EmptySequence,
    InvalidSequence,
    MaskMissing,
    MaskNotAllowed,
    SequenceTooLong,
)

RESIDUES = (*"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<mask>")
SEQUENCES = st.lists(st.sampled_from(RESIDUES), min_size=1, max_size=60)


# --- the tokens --------------------------------------------------------------------------------


def test_the_33_tokens_are_those_of_fair_esm():
    from esm.data import Alphabet

    assert list(TOKENS) == Alphabet.from_architecture("ESM-1b").all_toks


def test_the_33_tokens_are_those_of_transformers():
    from transformers.models.esm.configuration_esm import get_default_vocab_list

    assert get_default_vocab_list() == TOKENS


def test_the_named_tokens_are_those_of_fair_esm():
    from esm.data import Alphabet

    theirs = Alphabet.from_architecture("ESM-1b")
    assert (theirs.cls_idx, theirs.eos_idx, theirs.mask_idx) == (BOS, EOS, MASK)


def test_the_amino_acid_columns_are_the_20_natural_ones_in_vocabulary_order():
    assert "".join(AMINO_ACIDS) == "LAGVSERTIDPKQNFYMHWC"
    assert TOKENS[AMINO_ACID_COLUMNS] == AMINO_ACIDS


# --- there and back ----------------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(SEQUENCES)
def test_what_was_tokenized_reads_as_it_was_written(residues):
    tokens = tokenize("".join(residues))
    assert tokens.dtype == np.uint8
    assert (tokens[0], tokens[-1]) == (BOS, EOS)
    assert letters(tokens) == residues
    assert residue_tokens(tokens).tolist() == [TOKENS.index(residue) for residue in residues]


@settings(deadline=None, derandomize=True)
@given(SEQUENCES)
def test_tokens_are_those_that_fair_esm_makes(residues):
    from esm.data import Alphabet

    theirs = Alphabet.from_architecture("ESM-1b").get_batch_converter()
    _, _, batch = theirs([("a", "".join(residues))])
    assert tokenize("".join(residues)).tolist() == batch[0].tolist()


@settings(deadline=None, derandomize=True)
@given(SEQUENCES)
def test_the_first_mask_is_found_by_residue(residues):
    expected = residues.index("<mask>") if "<mask>" in residues else None
    assert first_mask(tokenize("".join(residues))) == expected


# --- refusals ----------------------------------------------------------------------------------


def test_an_empty_sequence_is_refused():
    with pytest.raises(EmptySequence):
        tokenize("")


@pytest.mark.parametrize(
    ("sequence", "position", "letter", "advice"),
    [
        ("MKJ", 2, "J", "X stands for any residue"),
        ("jMK", 0, "j", "upper case"),
        ("MKtA", 2, "t", "upper case"),
        ("MK AY", 2, " ", "white space"),
        ("MKAY\n", 4, "\n", "line ends"),
        ("MK*", 2, "*", "stop codons"),
        ("M1", 1, "1", "remove numbers"),
        ("MK?", 2, "?", "X stands for any residue"),
        ("MK\x00", 2, "\x00", "X stands for any residue"),
        ("MKé", 2, "é", "upper case"),
        ("MKÉ", 2, "É", "X stands for any residue"),
        ("MKА", 2, "А", "X stands for any residue"),  # a Cyrillic A
        ("MΑK", 1, "Α", "X stands for any residue"),  # a Greek Alpha
        ("M漢K", 1, "漢", "X stands for any residue"),
        ("MK🧬J", 2, "🧬", "X stands for any residue"),
        ("MK\ud800", 2, "\ud800", "X stands for any residue"),
    ],
)
def test_a_letter_without_a_token_is_named_with_its_place(sequence, position, letter, advice):
    with pytest.raises(InvalidSequence) as caught:
        tokenize(sequence)
    assert (caught.value.position, caught.value.letter) == (position, letter)
    assert f"residue {position + 1} is {letter!r}" in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "word", ["<cls>", "<pad>", "<eos>", "<unk>", "<null_1>", "<MASK>", "<mask", "< mask>"]
)
def test_no_word_but_mask_is_read(word):
    with pytest.raises(InvalidSequence) as caught:
        tokenize(f"MK{word}A")
    assert (caught.value.position, caught.value.letter) == (2, "<")
    assert "<mask>" in str(caught.value)


def test_only_the_first_fault_is_told():
    with pytest.raises(InvalidSequence) as caught:
        tokenize("MJK<mask>j")
    assert (caught.value.position, caught.value.letter) == (1, "J")


@pytest.mark.parametrize(
    ("sequence", "position"), [("<mask>J", 1), ("MK<mask>A<mask>J", 5), ("<mask><mask>MJ", 3)]
)
def test_a_mask_before_the_fault_counts_as_one_residue(sequence, position):
    with pytest.raises(InvalidSequence) as caught:
        tokenize(sequence)
    assert caught.value.position == position


@settings(deadline=None, derandomize=True)
@given(SEQUENCES, st.characters(), st.data())
def test_any_other_character_anywhere_is_refused_where_it_is(residues, character, data):
    if character in RESIDUES:
        return
    place = data.draw(st.integers(0, len(residues)))
    with pytest.raises(InvalidSequence) as caught:
        tokenize("".join(residues[:place]) + character + "".join(residues[place:]))
    assert (caught.value.position, caught.value.letter) == (place, character)


def test_the_message_of_a_refusal_does_not_hold_the_sequence():
    with pytest.raises(InvalidSequence) as caught:
        tokenize("MKTAYIAKQRQISFVKJ")
    assert "MKTAYI" not in str(caught.value)


# --- masks and length --------------------------------------------------------------------------


def test_a_limit_counts_residues_and_a_mask_is_one():
    assert len(tokenize("MK<mask>A", max_residues=4)) == 6
    with pytest.raises(SequenceTooLong) as caught:
        tokenize("MK<mask>AA", max_residues=4)
    assert (caught.value.length, caught.value.limit) == (5, 4)
    assert "5 residues" in str(caught.value)
    assert "limit here is 4" in str(caught.value)


def test_a_mask_where_none_is_allowed_is_refused_with_its_place():
    assert letters(tokenize("MKA", masks="none")) == ["M", "K", "A"]
    with pytest.raises(MaskNotAllowed) as caught:
        tokenize("MK<mask>A<mask>", masks="none")
    assert caught.value.position == 2
    assert "residue 3" in str(caught.value)


def test_a_sequence_that_must_have_a_mask_is_refused_without_one():
    assert letters(tokenize("M<mask>", masks="some")) == ["M", "<mask>"]
    with pytest.raises(MaskMissing):
        tokenize("MKX", masks="some")


def test_any_number_of_masks_is_the_default():
    assert letters(tokenize("<mask>" * 3)) == ["<mask>"] * 3
    assert letters(tokenize("M")) == ["M"]
