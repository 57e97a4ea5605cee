"""Variants: every way to write them, refusals that say why, and the offset of their numbering."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esm2.alphabet import tokenize
from esm2.errors import InvalidRequest, InvalidVariant, OffsetNotFound
from esm2.science.variants import parse, place, reverted
from tests.proteins import residues

DMS = Path(__file__).parents[1] / "data" / "dms"
LETTERS = "ACDEFGHIKLMNPQRSTVWYXBUZO"
THREE = {"A": "Ala", "D": "Asp", "G": "Gly", "W": "Trp", "U": "Sec", "X": "Xaa"}
PROTEIN = "".join(residues(60))
TOKENS = tokenize(PROTEIN)


def triples(text: str) -> list[tuple[str, int, str]]:
    return [(part.wt, part.position, part.mt) for part in parse(text).substitutions]


def variants_of(protein: str, shift: int, step: int = 1) -> list[str]:
    """A variant of every `step`th residue, numbered from 1 + shift."""
    return [
        f"{letter}{number + shift}{'W' if letter != 'W' else 'A'}"
        for number, letter in enumerate(protein, 1)
        if number % step == 0
    ]


# --- what people write -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A24G", [("A", 24, "G")]),
        (" A24G\n", [("A", 24, "G")]),
        ("A24A", [("A", 24, "A")]),
        ("A0G", [("A", 0, "G")]),
        ("A-3G", [("A", -3, "G")]),
        ("X5U", [("X", 5, "U")]),
        ("Ala24Gly", [("A", 24, "G")]),
        ("p.Ala24Gly", [("A", 24, "G")]),
        ("p.A24G", [("A", 24, "G")]),
        ("p.Ala24=", [("A", 24, "A")]),
        ("p.Xaa24Sec", [("X", 24, "U")]),
        ("A24G:D30N", [("A", 24, "G"), ("D", 30, "N")]),
        ("A24G , D30N", [("A", 24, "G"), ("D", 30, "N")]),
        ("A24G/D30N;W1A", [("A", 24, "G"), ("D", 30, "N"), ("W", 1, "A")]),
        ("p.Ala24Gly;p.Asp30Asn", [("A", 24, "G"), ("D", 30, "N")]),
        ("p.[Ala24Gly;Asp30Asn]", [("A", 24, "G"), ("D", 30, "N")]),
        ("p.(Ala24Gly)", [("A", 24, "G")]),
        ("p.[(Ala24Gly;Asp30Asn)]", [("A", 24, "G"), ("D", 30, "N")]),
        ("p.[(Ala24Gly);(Asp30Asn)]", [("A", 24, "G"), ("D", 30, "N")]),
        ("p.([Ala24Gly;Asp30Asn])", [("A", 24, "G"), ("D", 30, "N")]),
        ("p.(Ala24=)", [("A", 24, "A")]),
        ("p.(=)", []),
        ("WT", []),
        ("_wt", []),
        ("p.=", []),
    ],
)
def test_a_variant_is_read_as_people_write_it(text, expected):
    assert triples(text) == expected
    assert parse(text).text == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("A24G:", "it is empty"),
        ("24", "it is no substitution"),
        ("A24", "it is no substitution"),
        ("A24GG", "it is no substitution"),
        ("A2.5G", "it is no substitution"),
        ("A24G+D30N", "it is no substitution"),
        ("A1234567890G", "it is no substitution"),
        ("a24g", "upper case"),
        ("A24g", "upper case"),
        ("J24A", "'J' is no amino acid"),
        ("A24J", "'J' is no amino acid"),
        ("p.Ala24Foo", "'Foo' is no amino acid"),
        ("A24*", "stop codon"),
        ("p.Ala24Ter", "stop codon"),
        ("A24-", "deletions"),
        ("A24del", "deletions"),
        ("p.Ala24_Gly26del", "deletions"),
        ("A24_G25insK", "insertions"),
        ("p.Ala24fs", "insertions"),
        ("A24dup", "insertions"),
        ("A24G:A24V", "a position twice"),
    ],
)
def test_what_is_no_substitution_is_refused_with_the_reason(text, why):
    with pytest.raises(InvalidVariant) as refused:
        parse(text)
    assert why in str(refused.value)
    assert refused.value.variant == text


PARTS = st.tuples(st.sampled_from(LETTERS), st.integers(-999, 99999), st.sampled_from(LETTERS))


@given(
    st.lists(PARTS, min_size=1, max_size=6, unique_by=lambda part: part[1]),
    st.sampled_from([":", ",", "/", ";", " : ", ", "]),
    st.sampled_from(["", "p."]),
)
def test_what_is_written_is_what_is_read(parts, separator, prefix):
    text = separator.join(f"{prefix}{wt}{position}{mt}" for wt, position, mt in parts)
    assert triples(text) == parts


@given(st.text(max_size=20))
def test_any_text_is_a_variant_or_refused(text):
    told = ""
    try:
        parse(text)
    except InvalidVariant as refused:
        told = str(refused)
    assert told.isprintable()


@pytest.mark.parametrize("letter", THREE)
def test_three_letters_and_one_are_the_same(letter):
    assert triples(f"p.{THREE[letter]}7Trp") == triples(f"{letter}7W")


# --- where they stand --------------------------------------------------------------------------


def test_sites_are_the_substitutions_of_all_variants_in_order():
    sites = place(["T3A", "WT", "M1K:A4A"], tokenize("MKTA"))
    assert (sites.count, sites.offset) == (3, 0)
    assert sites.variant.tolist() == [0, 2, 2]
    assert sites.index.tolist() == [2, 0, 3]
    assert sites.wild.tolist() == tokenize("TMA")[1:-1].tolist()
    assert sites.mutant.tolist() == tokenize("AKA")[1:-1].tolist()


def test_no_variants_have_no_sites():
    sites = place([], tokenize("MKTA"), "auto")
    assert (sites.count, sites.offset, sites.index.size) == (0, 0, 0)


@pytest.mark.parametrize(
    ("offset", "variant"), [(0, "M1K"), (23, "M24K"), (-1, "M0K"), (-9, "M-8K")]
)
def test_the_offset_is_subtracted_from_positions(offset, variant):
    for own in (offset, np.int64(offset)):
        assert place([variant], tokenize("MKTA"), own).index.tolist() == [0]


@pytest.mark.parametrize(
    ("offset", "error", "told"),
    [
        (5.0, TypeError, "offset is float; pass a whole number or 'auto'"),
        (None, TypeError, "offset is NoneType"),
        (True, TypeError, "offset is a bool"),
        ("Auto", ValueError, "offset is 'Auto'; pass a whole number or 'auto'"),
        ("5", ValueError, "offset is '5'"),
        (10**30, ValueError, "offset is 1000000000.*; it is at most 1000000000 either way"),
    ],
)
def test_what_is_no_offset_is_told_what_to_be(offset, error, told):
    with pytest.raises(error, match=f"^{told}"):
        place(["M1K"], tokenize("MKTA"), offset)


def test_variants_that_do_not_match_are_named_at_their_places():
    with pytest.raises(InvalidRequest) as refused:
        place(["M1K", "M2K", "K2M:A9G", "A0G"], tokenize("MKTA"), named="row {}".format)
    assert refused.value.code == "request.invalid_variant"
    assert list(refused.value.faults) == ["row 1", "row 2", "row 3"]
    assert "residue 2 is K, not M" in refused.value.faults["row 1"][0]
    assert (
        "position 9 is outside the protein, whose residues are 1 to 4"
        in (refused.value.faults["row 2"][0])
    )


def test_of_many_faults_five_are_told_and_all_are_counted():
    with pytest.raises(InvalidRequest) as refused:
        place(["M1K", *["A1G"] * 1000], tokenize("MKTA"))
    assert len(refused.value.faults) == 6
    assert refused.value.faults["more"] == ["1,000 variants in all cannot be scored"]


# --- the offset --------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 23, -1, 1000, -40])
def test_the_offset_with_which_every_variant_matches_is_found(offset):
    sites = place(variants_of(PROTEIN, offset), TOKENS, "auto")
    assert sites.offset == offset
    assert sites.index.tolist() == list(range(60))


def test_multiple_mutants_have_to_match_whole():
    pairs = [":".join(pair) for pair in zip(*[iter(variants_of(PROTEIN, 7))] * 2, strict=True)]
    assert place(pairs, TOKENS, "auto").offset == 7


def test_0_is_taken_where_it_fits_even_if_others_do():
    assert place(["A2G"], tokenize("AAAA"), "auto").offset == 0


def test_one_variant_that_does_not_match_is_enough_to_refuse_and_the_near_miss_is_told():
    written = variants_of(PROTEIN, 23)
    written[7] = f"{'A' if PROTEIN[7] != 'A' else 'G'}31W"
    with pytest.raises(OffsetNotFound) as refused:
        place(written, TOKENS, "auto")
    error = refused.value
    assert (error.fitting, error.best, error.matching, error.total) == ((), 23, 59, 60)
    assert "59 of 60 do, with offset 23" in str(error)
    assert repr(written[7]) in str(error)


def test_rows_of_a_near_miss_are_counted_and_not_substitutions():
    written = variants_of(PROTEIN, 23)
    written[7] = f"{written[6]}:{'A' if PROTEIN[7] != 'A' else 'G'}31W"
    with pytest.raises(OffsetNotFound) as refused:
        place(written, TOKENS, "auto")
    assert (refused.value.matching, refused.value.total) == (59, 60)


def test_several_offsets_that_fit_are_told_and_none_is_taken():
    repeated = "MKTAYIAKQRQ" * 2
    with pytest.raises(OffsetNotFound) as refused:
        place(variants_of(repeated[:11], 100), tokenize(repeated), "auto")
    assert refused.value.fitting == (89, 100)
    assert "89, 100" in str(refused.value)


def test_few_positions_are_too_few_to_be_sure():
    written = variants_of(PROTEIN, 23)
    with pytest.raises(OffsetNotFound) as refused:
        place([f"{v}" for v in written if v[1:-1] in ("24", "30", "41", "60")], TOKENS, "auto")
    assert 23 in refused.value.fitting


# --- the wild type -----------------------------------------------------------------------------


def test_the_wild_type_is_what_a_mutated_sequence_was():
    assert reverted(parse("K2R:A4G"), "MRTG") == "MKTA"
    assert reverted(parse("K12R"), "MRTA", offset=10) == "MKTA"
    assert reverted(parse("WT"), "MKTA") == "MKTA"


@pytest.mark.parametrize("text", ["K2A", "K9R", "K0R"])
def test_a_mutated_sequence_must_have_the_mutant_in_it(text):
    with pytest.raises(InvalidVariant, match="does not have"):
        reverted(parse(text), "MRTA")


# --- real tables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "column", "count", "substitutions", "offset"),
    [
        ("BLAT_ECOLX_Ranganathan2015_esm1v.csv.gz", "mutant", 143, 143, 23),
        ("BLAT_ECOLX_Jacquier_2013.csv.gz", "mutant", 142, 142, 0),
        ("DLG4_RAT_Ranganathan2012.csv.gz", "mutant", 128, 128, 0),
        ("PABP_YEAST_Fields2013_singles.csv.gz", "mutant", 132, 132, 0),
        ("avgfp.csv.gz", "variant", 150, 577, -1),
    ],
)
def test_every_variant_of_a_published_table_finds_its_place(
    name, column, count, substitutions, offset
):
    with (DMS / "index.tsv").open() as index:
        [about] = [row for row in csv.DictReader(index, delimiter="\t") if row["file"] == name]
    with gzip.open(DMS / name, "rt") as table:
        written = [row[column] for row in csv.DictReader(table)]
    protein = about["wt_sequence"]
    sites = place(written, tokenize(protein), "auto")
    assert (sites.count, len(sites.index), sites.offset) == (count, substitutions, offset)
    # Every table begins with a single mutant.
    assert (sites.variant[0], protein[sites.index[0]]) == (0, written[0][0])
