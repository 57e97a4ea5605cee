"""Every client receives the numbers that the engine computes, under its generation's names."""

from __future__ import annotations

import numpy as np
import pytest

from tests.clients import roster
from tests.clients.cases import DEFAULTS, EVERYTHING, KINDS, LOG_PROB, PREDICT
from tests.clients.reports import WORDS, arrays, check_arrays, engine_arrays, results_of
from tests.near import assert_same

NUMBERS = [
    pytest.param(client, case, id=f"{client.name}: {case.name}")
    for client in roster.ALL
    for case in client.numbers()
]


@pytest.mark.parametrize(("client", "case"), NUMBERS)
def test_the_numbers_are_the_engines(session, model, table, client, case):
    results = results_of(client, session(client).report(case))
    if case is LOG_PROB:
        got = [result["log_prob"] for result in results]
        assert_same(got, model.log_prob(case.sequences))
        assert all(list(result) == ["log_prob"] for result in results)
    else:
        check_arrays([arrays(client, result) for result in results], engine_arrays(model, case))
    table.record(client, case, "=")


@pytest.mark.parametrize("client", roster.ALL, ids=lambda client: client.name)
def test_only_what_was_asked_for_is_there_and_letters_stand_beside_logits(session, client):
    beside = [] if client.dialect == "v2" else ["vocab_tokens"]
    for result in results_of(client, session(client).report(EVERYTHING)):
        words = [WORDS[client.dialect][kind] for kind in KINDS]
        assert sorted(result) == sorted(["sequence_index", *words, *beside])
    [result] = results_of(client, session(client).report(DEFAULTS))
    assert sorted(result) == sorted(["sequence_index", WORDS[client.dialect]["mean"]])
    letters = "alphabet_tokens" if client.dialect == "v2" else "vocab_tokens"
    for result in results_of(client, session(client).report(PREDICT)):
        assert sorted(result) == sorted(["logits", "sequence_tokens", letters])
        assert "".join(result[letters]) == "LAGVSERTIDPKQNFYMHWC"


def test_three_generations_give_the_same_arrays_bit_for_bit(session):
    posts = [client for client in roster.POSTS if client.program == "posts.py"]
    assert {client.dialect for client in posts} == {"v1", "v2", "v3"}
    one, *others = (
        [arrays(client, result) for result in results_of(client, session(client).report(case))]
        for client in posts
        for case in [EVERYTHING]
    )
    for other in others:
        for mine, theirs in zip(one, other, strict=True):
            assert mine.keys() == theirs.keys()
            assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
