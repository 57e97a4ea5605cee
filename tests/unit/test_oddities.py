"""Sequences that are computed and hardly were meant: which ones, and what is said of them."""

import pytest

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
        "; 1 of the records look like DNA or RNA and were read as proteins (translate them first)"
        "; 2 of the records have no residue that is known, only X and gaps"
        "; 1 of the records have gaps, which were read as such (take them out of an alignment"
        " first)"
    )
    assert Oddities().told() == ""
