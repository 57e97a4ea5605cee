"""Sequences that are computed and hardly were meant: which ones, and what is said of them."""

import pytest

from esm2.alphabet import tokenize_all, tokenize_one
from esm2.oddities import Oddities, oddity
from esm2.types import Record


@pytest.mark.parametrize(
    ("sequence", "kind"),
    [
        ("ACGTACGTTAGC", "nucleotides"),
        ("ACGUACGUUAGC", "nucleotides"),
        ("ACGTNNNNACGTTAGC", "nucleotides"),
        ("ACGT--ACGT.TAGC", "nucleotides"),
        ("ACGTACGTTAGCACGTACGTTAGCR", "nucleotides"),
        ("XXXXX", "nothing"),
        ("--..--", "nothing"),
        ("X<mask>-", None),
        ("<mask>", None),
        ("MK-TAY", "gaps"),
        ("MKTAYIAKQR", None),
        ("GGGGGGGGGGGG", None),
        ("GAGAGAGAGAGA", None),
        ("ACGT", None),
        ("MKX", None),
        ("", None),
    ],
)
def test_what_is_odd_about_a_sequence(sequence, kind):
    assert oddity(sequence) == kind


def test_odd_ones_are_counted_and_said():
    found = Oddities()
    records = [Record(s, s, s, 1) for s in ("ACGTACGTTAGC", "XX", "XX", "M-K", "MKT")]
    assert list(found.watch(records)) == records
    assert found.told() == (
        "; 1 of the records looks like DNA or RNA and was read as a protein (translate it first)"
        "; 2 of the records have no residue that is known, only X and gaps"
        "; 1 of the records has gaps, which were read as such (take them out of an alignment"
        " first)"
    )
    assert Oddities().told() == ""


def test_a_program_is_told_which_of_its_sequences_are_odd(caplog):
    tokenize_all(["MKTA", "ACGTACGTTAGC", "XX", "ACGTACGTTAGC"], masks="none")
    assert [(own.levelname, own.getMessage()) for own in caplog.records] == [
        ("WARNING", "esm2: sequences[1, 3]: it looks like DNA or RNA"),
        ("WARNING", "esm2: sequences[2]: no residue in it is known"),
    ]


def test_a_program_is_told_when_it_scores_one(caplog):
    tokenize_one("MK-TA")
    assert caplog.messages == ["esm2: sequences[0]: it has gaps, which were read as such"]


def test_many_odd_ones_are_counted_not_listed(caplog):
    tokenize_all(["XX"] * 1025, masks="none")
    [told] = caplog.messages
    assert told.startswith("esm2: sequences[0, 1, 2,")
    assert told.endswith(", 19] and 1,005 more: no residue in it is known")
