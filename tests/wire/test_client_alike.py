"""A model on a server and one in this process refuse the same in the same words."""

from __future__ import annotations

import numpy as np
import pytest

from esm2.client import Client
from esm2.errors import InvalidRequest, OffsetNotFound, SequenceTooLong
from tests.near import assert_scores

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url, model="my-slug") as own:
        yield own


@pytest.mark.parametrize(
    "ask",
    [
        lambda own: own.scan([PROTEIN]),
        lambda own: own.scan(""),
        lambda own: own.scan("MKJ"),
        lambda own: own.scan("M<mask>"),
        lambda own: own.scan("MKT", "pppl"),
        lambda own: own.score_variants([PROTEIN], ["M1A"]),
        lambda own: own.score_variants("", ["M1A"]),
        lambda own: own.score_variants("M<mask>", ["M1A"]),
        lambda own: own.score_variants("MKT", ["M1A"], "x"),
        lambda own: own.score_variants("MKT", "M1A"),
        lambda own: own.score_variants("MKT", ["M1A", "K1A", "1"]),
        lambda own: own.score_variants("MKT", ["M1A"], offset=5.0),
        lambda own: own.score_variants("MKT", ["M1A"], offset="Auto"),
        lambda own: own.score_variants("MKT", ["M1A"], offset=True),
        lambda own: own.score_variants("MKT", ["W1A"], offset="auto"),
        lambda own: own.fill_mask("MKT"),
        lambda own: own.fill_mask("M<mask>", top_k="5"),
        lambda own: own.fill_mask(None),
        lambda own: own.embed(["MKT", ""], layers=[np.int64(1)]),
    ],
)
def test_a_fault_has_the_same_class_and_sentence_here_and_there(client, direct, ask):
    found = []
    for own in (direct("my-slug"), client):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # which, the other one says
            ask(own)
        found.append((type(caught.value), str(caught.value)))
    assert found[0] == found[1]


def test_a_sequence_that_the_server_finds_too_long_has_no_place_where_it_is_the_only_one(client):
    for ask in (
        lambda: client.scan("M" * 5000),
        lambda: client.score_variants("M" * 5000, ["M1A"]),
        lambda: client.fill_mask("<mask>" * 5000),
    ):
        with pytest.raises(SequenceTooLong, match="the sequence has 5000 residues"):
            ask()
    with pytest.raises(InvalidRequest, match=r"^sequences\[1\]: the sequence has 5000 residues"):
        client.embed(["MKT", "M" * 5000])


@pytest.mark.parametrize("offset", [23, np.int64(23), "auto"])
def test_variants_may_be_numbered_in_any_of_the_ways_of_a_model_in_this_process(
    client, direct, offset
):
    variants = [f"{letter}{24 + place}W" for place, letter in enumerate(PROTEIN)]
    got = client.score_variants(PROTEIN, variants, offset=offset)
    assert_scores(got, direct("my-slug").score_variants(PROTEIN, variants, offset=offset))
    with pytest.raises(OffsetNotFound):
        client.score_variants(PROTEIN, variants[:1], offset="auto")


def test_a_program_is_told_once_of_what_is_hardly_a_protein(client, caplog):
    client.scan("ACGTACGTTAGC")
    client.score_variants("ACGTACGTTAGC", ["A1G"])
    assert [own for own in caplog.messages if "DNA" in own] == [
        "esm2: sequences[0]: it looks like DNA or RNA"
    ] * 2
