"""esm2-demo, the checkpoint inside the package: what it is said to be, and that it learned.

Its figures are committed (training/results); what they say of the shipped file is checked here.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from transformers import EsmForMaskedLM

from esm2.alphabet import tokenize
from esm2.catalog import CHECKPOINTS, DEMO_SLUG
from esm2.engine.engine import Engine
from esm2.errors import CheckpointError
from esm2.loading import DEMO_DIRECTORY
from esm2.numerics import TRANSFORMERS
from esm2.runtime import open_model
from esm2.science.scoring import log_prob
from esm2.types import ForwardRequest, Want
from tests.checkpoints import SHAPES, random_fair_esm
from tests.near import differences
from tests.oracles import our_outputs, transformers_outputs
from tests.proteins import SEQUENCES
from training.card import CARD, RESULTS, card
from training.evaluate import masked_perplexity
from training.recipe import DEMO

WEIGHTS = DEMO_DIRECTORY / "model.safetensors"
FIGURES = json.loads((RESULTS / "figures.json").read_bytes())
HELD_OUT = Path(__file__).parents[1] / "data" / "valid.fasta.gz"

#: UniProt P01112 (H-Ras), P99999 (cytochrome c), P0CG48 (ubiquitin), P61626 (lysozyme C), human.
REAL = (
    "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSYRKQVVIDGETCLLDILDTAGQEEYSAMRDQYMRTGEGFLCVFAINNTKSFEDIH"
    "HYREQIKRVKDSEDVPMVLVGNKCDLPSRTVDTKQAQDLARSYGIPFIETSAKTRQGVDDAFYTLVREIRKHKEKMSKDGKKKKKKSKTKCVIM",
    "MGDVEKGKKIFIMKCSQCHTVEKGGKHKTGPNLHGLFGRKTGQAPGYSYTAANKNKGIIWGEDTLMEYLENPKKYIPGTKMIFVGIKKKEERAD"
    "LIAYLKKATNE",
    "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
    "MKALIVLGLVLLSVTVQGKVFERCELARTLKRLGMDGYRGISLANWMCLAKWESGYNTRATNYNAGDRSTDYGIFQINSRYWCNDGKTPGAVNA"
    "CHLSCSALLQDNIADAVACAKRVVRDPQGIRAWVAWRNRCQNRDVRQYVQGCGV",
)


@pytest.fixture(scope="module")
def demo() -> Engine:
    return Engine.load(DEMO_DIRECTORY, DEMO_SLUG, device="cpu")


def test_it_is_small_and_the_one_that_was_measured(demo):
    assert WEIGHTS.stat().st_size <= 6_000_000
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert digest == demo.decided.weights_sha256 == FIGURES["weights_sha256"]
    assert demo.decided.shape == DEMO.shape
    assert demo.decided.contacts


def test_its_card_says_what_was_measured():
    assert CARD.read_text(encoding="utf-8") == card()


def test_its_figures_are_those_it_was_made_for():
    assert FIGURES["masked_perplexity"] < 17.0 < FIGURES["bigram_perplexity"]
    assert FIGURES["bigram_perplexity"] < FIGURES["frequency_perplexity"]
    assert FIGURES["pairs"]["real_below_shuffled"] >= 0.9
    assert FIGURES["contacts"]["ratio"] >= 2


def test_measured_again_its_perplexity_is_the_committed_one(demo):
    found = masked_perplexity(demo, HELD_OUT)
    assert found == pytest.approx(FIGURES["masked_perplexity"], abs=0.002)


@pytest.mark.parametrize("name", ["50, every letter", "300, many masks"])
def test_transformers_loads_it_and_gives_the_same(demo, name):
    theirs = EsmForMaskedLM.from_pretrained(DEMO_DIRECTORY, attn_implementation="eager").float()
    alphabet = random_fair_esm(*SHAPES["tiny"], seed=0)
    want = transformers_outputs(theirs.eval(), alphabet, SEQUENCES[name])
    wrong = differences(our_outputs(demo, SEQUENCES[name]), want, TRANSFORMERS)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("sequence", REAL, ids=["H-Ras", "cytochrome c", "ubiquitin", "lysozyme"])
def test_it_finds_a_real_protein_likelier_than_its_residues_in_any_other_order(demo, sequence):
    source = random.Random(0)
    shuffles = ["".join(source.sample(sequence, len(sequence))) for _ in range(20)]
    tokens = [tokenize(text) for text in (sequence, *shuffles)]
    outputs = demo.run([ForwardRequest(own, Want(logits=True)) for own in tokens])
    real, *others = (log_prob(o.logits, own) for o, own in zip(outputs, tokens, strict=True))
    assert real > max(others)


def test_it_fills_in_the_cysteines_of_a_zinc_finger(demo):
    finger = "RPYKCEECGKAFSQSSHLTTHKRIHTGEKPYKCEECGKAFSRSSHLTTHKRIH"
    masked = [finger[:i] + "<mask>" + finger[i + 1 :] for i in range(len(finger))]
    requests = [ForwardRequest(tokenize(text), Want(logits=True)) for text in masked]
    rows = np.stack([o.logits[i] for i, o in enumerate(demo.run(requests))])
    named = rows.argmax(axis=1) == tokenize(finger)[1:-1]
    assert [i for i, letter in enumerate(finger) if letter == "C" and not named[i]] == []
    assert named.mean() > 0.5


@pytest.mark.parametrize("slug", [checkpoint.slug for checkpoint in CHECKPOINTS])
def test_it_never_answers_under_an_official_slug(slug):
    with pytest.raises(CheckpointError, match=slug), open_model(f"{slug}={DEMO_DIRECTORY}"):
        pass
