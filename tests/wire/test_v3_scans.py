"""API v3, scan and pll: the numbers of `esm2.load`, in JSON, as arrays and through the client."""

from __future__ import annotations

import asyncio
import io
import math

import numpy as np
import pytest

from esm2.alphabet import AMINO_ACIDS
from esm2.client import AsyncClient, Client
from esm2.errors import MaskNotAllowed, TooMuchWork
from tests.near import assert_scores
from tests.wire.dialects import NPZ, PROTEIN, V3
from tests.wire.server import serving

SCAN, PLL = V3.path("my-slug", "scan"), V3.path("my-slug", "pll")
STRATEGIES = ["masked-marginals", "wt-marginals"]
#: Letters without a column among the 20 can be a wild type, too.
SEQUENCES = [PROTEIN, "XBUZO.-M", "M"]


def body(*sequences: str, **params: object) -> dict[str, object]:
    items = [{"sequence": sequence} for sequence in sequences]
    return {"items": items, "params": params} if params else {"items": items}


@pytest.fixture(scope="module")
def model(direct):
    return direct("my-slug")


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url, model="my-slug") as own:
        yield own


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_scan_has_a_row_for_each_residue_and_a_column_for_each_amino_acid(
    server, model, strategy
):
    answer = server.post(SCAN, body(*SEQUENCES, strategy=strategy))
    assert answer.status == 200
    for sequence, result in zip(SEQUENCES, answer.json()["results"], strict=True):
        assert list(result) == ["scores", "vocab_tokens"]
        assert result["vocab_tokens"] == list(AMINO_ACIDS)
        assert_scores(np.array(result["scores"]), model.scan(sequence, strategy).scores.T)


def test_a_scan_is_of_masked_marginals_if_nobody_says(server):
    said = server.post(SCAN, body(PROTEIN, strategy="masked-marginals")).json()
    assert server.post(SCAN, body(PROTEIN)).json() == said
    assert server.post(SCAN, body(PROTEIN, strategy="wt-marginals")).json() != said


def test_a_scan_and_score_agree(server):
    [scan] = server.post(SCAN, body(PROTEIN)).json()["results"]
    [score] = server.post(
        V3.path("my-slug", "score"),
        {"items": [{"sequence": PROTEIN, "variants": [f"{PROTEIN[4]}5F"]}]},
    ).json()["results"]
    assert scan["scores"][4][AMINO_ACIDS.index("F")] == pytest.approx(
        score["scores"][0]["score"], abs=1e-6
    )


def test_pll_and_pseudo_perplexity_are_those_of_python(server, model):
    answer = server.post(PLL, body(*SEQUENCES))
    assert answer.status == 200
    want = model.pll(SEQUENCES)
    for sequence, value, result in zip(SEQUENCES, want, answer.json()["results"], strict=True):
        assert list(result) == ["pll", "pseudo_perplexity"]
        assert result["pll"] == pytest.approx(value, abs=1e-4)
        assert result["pseudo_perplexity"] == pytest.approx(
            math.exp(-value / len(sequence)), rel=1e-5
        )


@pytest.mark.parametrize(("path", "name", "key"), [(SCAN, "scores", "scores"), (PLL, "pll", "pll")])
def test_arrays_are_what_json_says(server, path, name, key):
    answer = server.post(path, body("MKT", "GS"), {"Accept": NPZ})
    results = server.post(path, body("MKT", "GS")).json()["results"]
    with np.load(io.BytesIO(answer.body)) as file:
        arrays = dict(file)
    assert sorted(arrays) == [f"0.{name}", f"1.{name}"]
    for item, result in enumerate(results):
        own = arrays[f"{item}.{name}"]
        assert own.dtype == np.float32
        assert own.tolist() == result[key]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_the_client_scans_as_the_model_does(client, model, sequence, strategy):
    got, want = client.scan(sequence, strategy), model.scan(sequence, strategy)
    assert got.scores.dtype == np.float64
    assert_scores(got.scores, want.scores)
    assert got.residues == want.residues
    assert got.log_probabilities is None
    assert [own[:3] for own in got.substitutions()] == [own[:3] for own in want.substitutions()]


def test_the_clients_pll_is_the_models_in_order(client, server, model):
    sequences = [PROTEIN[: 1 + number] for number in range(12)]
    got = client.pll(sequences)
    assert got.dtype == np.float64
    assert_scores(got, model.pll(sequences))

    async def awaited() -> np.ndarray:
        async with AsyncClient(server.url, model="my-slug") as own:
            return await own.pll(sequences)

    assert asyncio.run(awaited()).tolist() == got.tolist()
    assert client.pll([]).shape == (0,)


def test_what_cannot_be_scanned_is_refused_before_anything_is_sent(client):
    with pytest.raises(MaskNotAllowed, match="residue 3 is <mask>"):
        client.scan("MK<mask>")
    with pytest.raises(ValueError, match="strategy is 'pppl'; use one of masked-marginals"):
        client.scan("MKT", "pppl")


def test_a_scan_of_more_work_than_ever_fits_is_refused(model_flags):
    with (
        serving(*model_flags, "--queue-tokens=500") as small,
        Client(small.url, model="my-slug") as own,
        pytest.raises(TooMuchWork),
    ):
        own.scan(PROTEIN * 20)


@pytest.mark.parametrize(
    ("path", "wrong", "place"),
    [
        (SCAN, body("MKT", strategy="pppl"), "params__strategy"),
        (SCAN, body("MK<mask>T"), "items__0__sequence"),
        (SCAN, {"items": []}, "items"),
        (PLL, body("MK<mask>T"), "items__0__sequence"),
        (PLL, body("MKT", "mkt"), "items__1__sequence"),
        (PLL, {"items": [{"sequence": "MKT", "variants": ["K2R"]}]}, "items__0__variants"),
    ],
)
def test_a_bad_body_is_refused_with_the_place(server, path, wrong, place):
    answer = server.post(path, wrong)
    assert answer.status == 400
    assert list(answer.json()["error"]) == [place]
