"""API v3, score: the numbers of `esm2.load`, and refusals that name the variant."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import jsonschema_rs
import numpy as np
import pytest

import esm2
from esm2.client import Client
from esm2.errors import InvalidRequest, TooMuchWork
from tests.near import assert_scores
from tests.wire.dialects import NPZ, PROTEIN, V3
from tests.wire.refusals import TOKENS
from tests.wire.server import serving

PATH = V3.path("my-slug", "score")
VARIANTS = ["K2R", "A4G:Q9E", "p.Tyr5Phe", "WT", "M1M", "K2R/T3S;A4G", "K2X"]
STRATEGIES = ["masked-marginals", "wt-marginals", "pppl"]


def item(sequence: str = PROTEIN, variants: object = ("K2R",)) -> dict[str, object]:
    return {"sequence": sequence, "variants": variants}


def body(*items: dict[str, object], **params: object) -> dict[str, object]:
    return {"items": list(items), "params": params}


@pytest.fixture(scope="module")
def model(direct):
    return direct("my-slug")


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_scores_are_those_of_python_in_the_order_of_the_variants(server, model, strategy):
    other = "GSHMKW"
    answer = server.post(
        PATH, body(item(variants=VARIANTS), item(other, ["G1A"]), strategy=strategy)
    )
    assert answer.status == 200
    first, second = answer.json()["results"]
    assert [list(each) for each in first["scores"]] == [["variant", "score"]] * len(VARIANTS)
    assert [each["variant"] for each in first["scores"]] == VARIANTS
    got = [each["score"] for each in first["scores"]]
    assert_scores(got, model.score_variants(PROTEIN, VARIANTS, strategy))
    assert got[3] == got[4] == 0.0
    assert abs(got[0]) > 1e-3
    [only] = second["scores"]
    want = model.score_variants(other, ["G1A"], strategy)
    assert_scores([only["score"]], want)


def test_masked_marginals_with_offset_0_is_what_is_done_unless_said_otherwise(server):
    asked = {"strategy": "masked-marginals", "offset": 0}
    want = server.post(PATH, {"items": [item()], "params": asked})
    assert want.status == 200
    for params in ({}, {"params": None}, {"params": {}}):
        assert server.post(PATH, {"items": [item()]} | params).body == want.body


def test_an_offset_moves_every_position(server):
    want = server.post(PATH, body(item(variants=["K2R"]))).json()["results"][0]["scores"][0]
    for offset, variant in ((23, "K25R"), (-1, "K1R"), (23.0, "K25R")):
        answer = server.post(PATH, body(item(variants=[variant]), offset=offset))
        assert answer.json()["results"][0]["scores"][0]["score"] == want["score"]


def test_a_binary_reply_has_an_array_for_each_item(server):
    asked = body(item(variants=VARIANTS), item("GSHMKW", ["G1A", "WT"]))
    plain = server.post(PATH, asked).json()["results"]
    reply = server.post(PATH, asked, {"Accept": NPZ})
    with np.load(io.BytesIO(reply.body)) as file:
        arrays = dict(file)
    assert list(arrays) == ["0.scores", "1.scores"]
    for array, result in zip(arrays.values(), plain, strict=True):
        assert array.dtype == np.float32
        assert array.tolist() == [each["score"] for each in result["scores"]]


def test_the_client_gives_the_same_and_names_faulty_variants(guarded, model):
    with Client(guarded.url, TOKENS.partition(",")[0], model="my-slug") as client:
        got = client.score_variants(PROTEIN, VARIANTS)
        assert (got.dtype, got.shape) == (np.float32, (len(VARIANTS),))
        assert_scores(got, model.score_variants(PROTEIN, VARIANTS))
        assert client.score_variants(PROTEIN, []).shape == (0,)
        with pytest.raises(InvalidRequest) as refused:
            client.score_variants(PROTEIN, ["K2R", "A2G"])
        assert list(refused.value.faults) == ["variants[1]"]
        assert refused.value.code == "request.invalid_variant"


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "place", "code", "words"),
    [
        (item(variants=["K2R", "A2G"]), "variants__1", "invalid_variant", "residue 2 is K, not A"),
        (item(variants=["K2"]), "variants__0", "invalid_variant", "it is no substitution"),
        (item(variants=["K200R"]), "variants__0", "invalid_variant", "outside the protein"),
        (item(variants=["K2del"]), "variants__0", "invalid_variant", "deletions cannot be scored"),
        (item(variants=["K2*"]), "variants__0", "invalid_variant", "stop codon"),
        (item(variants=["K2R:K2A"]), "variants__0", "invalid_variant", "a position twice"),
        (item(variants=[]), "variants", "invalid", "at least 1"),
        (item(variants={"K2R": 1}), "variants", "invalid", "must be a list"),
        (item(variants="K2"), "variants__0", "invalid_variant", "it is no substitution"),
        (item(variants=[2]), "variants__0", "invalid", "must be a string"),
        (item(variants=["K2R"] * 20_001), "variants", "too_many_substitutions", "20001"),
        (item(variants=["K2R:" * 20_000]), "variants", "too_many_substitutions", "limit is 20000"),
        ({"sequence": PROTEIN}, "variants", "invalid", "required"),
        (item("MK<mask>"), "sequence", "mask_not_allowed", "residue 3 is <mask>"),
        (item("MKJ"), "sequence", "invalid_sequence", "'J'"),
        (item() | {"offset": 1}, "offset", "invalid", "unknown field"),
    ],
    ids=str,
)
def test_a_fault_is_told_at_its_place(server, asked, place, code, words):
    answer = server.post(PATH, body(item(), asked))
    assert (answer.status, answer.json()["code"]) == (400, f"request.{code}")
    assert list(answer.json()["error"]) == [f"items__1__{place}"]
    assert words in answer.json()["error"][f"items__1__{place}"][0]


@pytest.mark.parametrize(
    ("params", "place", "words"),
    [
        ({"strategy": "wt"}, "params__strategy", "'masked-marginals'"),
        ({"offset": "auto"}, "params__offset", "whole number"),
        ({"offset": 1.5}, "params__offset", "whole number"),
        ({"offset": 10**30}, "params__offset", "whole number"),
        ({"offset": 10**10}, "params__offset", "1000000000"),
        ({"include": ["mean"]}, "params__include", "unknown field"),
    ],
    ids=str,
)
def test_a_parameter_that_there_is_not_is_refused(server, params, place, words):
    answer = server.post(PATH, body(item(), **params))
    assert (answer.status, answer.json()["code"]) == (400, "request.invalid")
    assert words in answer.json()["error"][place][0]


def test_of_many_faulty_variants_the_first_are_named_and_all_are_counted(server):
    faulty = item(variants=["K2R"] + ["A2G"] * 7)
    answer = server.post(PATH, body(faulty, item(), faulty))
    said = answer.json()["error"]
    for number in (0, 2):
        named = [f"items__{number}__variants__{index}" for index in range(1, 6)]
        assert [place for place in said if place.startswith(f"items__{number}")] == [
            *named,
            f"items__{number}__variants",
        ]
        assert said[f"items__{number}__variants"] == ["7 variants in all cannot be scored"]


def test_work_that_can_never_fit_into_the_queue_is_not_told_to_come_again(model_flags):
    with serving(*model_flags, "--queue-tokens=500") as small:
        answer = small.post(PATH, body(item(variants=["K2R"]), strategy="pppl"))
        assert (answer.status, answer.json()["code"]) == (400, "request.too_much_work")
        # 22 residues of 24 tokens, of the wild type and of the variant.
        assert "needs 1056 tokens, more than the 500" in answer.json()["error"]
        assert small.post(PATH, body(item(variants=["K2R"]))).status == 200
        with Client(small.url, model="my-slug") as client, pytest.raises(TooMuchWork):
            client.score_variants(PROTEIN, ["K2R"], "pppl")
        small.stop()


def test_so_many_passes_that_they_would_hold_everybody_up_are_refused(server):
    answer = server.post(PATH, body(item("MK", ["K2R"] * 10_000), strategy="pppl"))
    assert (answer.status, answer.json()["code"]) == (400, "request.too_much_work")
    assert "needs 20002 forward passes" in answer.json()["error"]


# --- description -------------------------------------------------------------------------------


def test_the_schema_says_what_can_be_said_in_a_schema(guarded):
    answer = guarded.get("/api/v3/schema/my-slug/score/")
    allows = jsonschema_rs.validator_for(answer.json()).is_valid
    assert answer.json()["properties"]["items"]["maxItems"] == 3
    good = [
        body(item()),
        body(item(variants="K2R")),
        body(item(), strategy="pppl", offset=-3),
        {"items": [item()] * 3},
    ]
    bad = [
        {},
        body(item(variants=[])),
        body(item(variants=["K2R"] * 20_001)),
        body(item("MKJ")),
        body(item("M" * 301)),
        body(item(), strategy="wt"),
        body(item(), offset=0.5),
        {"items": [item()] * 4},
    ]
    assert [allows(json.loads(json.dumps(each))) for each in good] == [True] * len(good)
    assert [allows(json.loads(json.dumps(each))) for each in bad] == [False] * len(bad)


def test_only_v3_has_it(server):
    for prefix in ("/api/v1", "/api/v2"):
        assert server.post(f"{prefix}/my-slug/score", body(item())).status == 404


def test_the_scores_in_the_documentation_are_those_of_esm2_demo():
    page = (Path(__file__).parents[2] / "docs/http-api.md").read_text()
    [asked] = re.findall(r"^score +(\{.*\})$", page, re.MULTILINE)
    [answer] = re.findall(r'^(\{"results": \[\{"scores".*\})$', page, re.MULTILINE)
    [own] = json.loads(asked)["items"]
    [result] = json.loads(answer)["results"]
    assert [each["variant"] for each in result["scores"]] == own["variants"]
    with esm2.load("esm2-demo", device="cpu", dtype="float32") as demo:
        want = demo.score_variants(**own)
    assert_scores([each["score"] for each in result["scores"]], want)
