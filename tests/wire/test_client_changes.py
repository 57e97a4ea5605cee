"""`esm2.client` and a server that is started anew as something else while a client lives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from esm2.alphabet import tokenize
from esm2.client import Client
from esm2.errors import InvalidRequest, TooManyItems, UnexpectedReply
from esm2.types import ForwardRequest, Want
from tests.wire.scripted import DIM, INFO, LIMITS, means, said, scripted

TOO_MANY = {"code": TooManyItems.code, "error": "too many items"}


def expected(sequences):
    return np.array([np.full(DIM, len(sequence)) for sequence in sequences], np.float32)


def taking(most):
    """A server that says what it takes, and refuses more."""

    def answer(_, request):
        if len(request.sequences) > most:
            return said(400, TOO_MANY)
        return means(request)

    return answer


def with_limits(**limits):
    return said(200, {**INFO, "limits": {**LIMITS, **limits}})


@pytest.mark.parametrize(
    ("header", "told"),
    [("X-ESM2-Weights", "other weights than when"), ("X-ESM2-Dtype", "another dtype than when")],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda own: own.embed(["MKT"]),
        lambda own: own.predict(["M<mask>"]),
        lambda own: own.score_variants("MKT", ["M1A"]),
        lambda own: own.scan("MKT"),
        lambda own: own.submit(
            ForwardRequest(tokenize("MKT"), Want(layers=(2,), mean=True))
        ).result(),
    ],
)
def test_another_model_behind_the_same_name_does_not_mix_with_the_first(header, told, ask):
    def answer(number, request):
        own = means(request)
        return own if number == 0 else replace(own, headers=own.headers | {header: "other"})

    with scripted(answer) as server, Client(server.url) as client:
        client.embed(["MKT"])
        with pytest.raises(UnexpectedReply, match=rf"{told}.*; make a new client"):
            ask(client)


def test_the_same_model_goes_on_after_a_restart():
    def answer(_, request):
        own = means(request)
        return replace(own, headers=own.headers | {"X-ESM2-Dtype": "float32"})

    with scripted(answer) as server, Client(server.url) as client:
        for _ in range(2):
            np.testing.assert_array_equal(client.embed(["MKT"]), expected(["MKT"]))


def test_a_server_that_comes_back_with_smaller_limits_gets_smaller_requests():
    sequences = ["M" * (1 + number) for number in range(14)]
    with scripted(taking(2)) as server:
        server.info = with_limits(max_items=5)
        with Client(server.url, connections=1) as client:
            client.embed(["M"])
            server.info = with_limits(max_items=2)
            np.testing.assert_array_equal(client.embed(sequences), expected(sequences))
            sizes = [len(request.sequences) for request in server.asked[1:]]
    # One was refused, and in pieces answered; of what followed none was too large.
    assert sizes == [5, 2, 2, 1, 2, 2, 2, 2, 1]


def test_a_refusal_that_no_smaller_request_helps_against_is_told():
    with scripted(taking(0)) as server, Client(server.url) as client:
        with pytest.raises(TooManyItems):
            client.embed(["MKT", "MK"])
        assert len(server.asked) == 1


def test_a_server_that_comes_back_with_a_larger_limit_is_sent_longer_sequences():
    with scripted(taking(9)) as server, Client(server.url) as client:
        with pytest.raises(InvalidRequest, match="has 60 residues, the limit here is 50"):
            client.embed(["M" * 60])
        server.info = with_limits(max_residues=100)
        np.testing.assert_array_equal(client.embed(["M" * 60]), expected(["M" * 60]))
