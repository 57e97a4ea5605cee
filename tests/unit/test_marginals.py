"""Marginals and pseudo-log-likelihood, against loops over transformers' own logits.

The oracle masks one position at a time with transformers' tokens and takes torch's log_softmax over
all 33: nothing of ours takes part in it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
import transformers

import esm2
from esm2.alphabet import AMINO_ACIDS, MASK, tokenize
from esm2.errors import InvalidRequest, MaskNotAllowed
from esm2.science import marginals
from esm2.science.marginals import in_turn
from esm2.science.variants import place
from esm2.types import ForwardRequest, Outputs
from tests.near import assert_scores
from tests.proteins import residues

PROTEIN = "".join(residues(24)[:20]) + "XMKW"
VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-"]


@pytest.fixture(scope="module")
def model(reference):
    with esm2.load(reference("tiny").directory, device="cpu") as loaded:
        yield loaded


class Oracle:
    """log p of one residue at a time, by transformers."""

    def __init__(self, directory) -> None:
        self._model = transformers.EsmForMaskedLM.from_pretrained(directory).eval()
        self._cached = functools.cache(self._log_p)

    def log_p(self, sequence: str, index: int, letter: str, masked: bool) -> float:
        return float(self._cached(sequence, index if masked else None)[index, self._id(letter)])

    @staticmethod
    def _id(letter: str) -> int:
        return VOCABULARY.index(letter)

    def _log_p(self, sequence: str, masked: int | None) -> torch.Tensor:
        ids = [0, *map(self._id, sequence), 2]
        if masked is not None:
            ids[masked + 1] = 32
        with torch.inference_mode():
            logits = self._model(torch.tensor([ids])).logits[0, 1:-1]
        return logits.double().log_softmax(dim=-1)

    def pll(self, sequence: str) -> float:
        return sum(self.log_p(sequence, i, own, True) for i, own in enumerate(sequence))

    def log_prob(self, sequence: str) -> float:
        """Nothing masked, normalised over the 20 amino acids; other letters are left out."""
        rows = self._cached(sequence, None)[:, 4:24].log_softmax(dim=-1)
        natural = [(i, self._id(own)) for i, own in enumerate(sequence) if self._id(own) < 24]
        return sum(float(rows[i, own - 4]) for i, own in natural)

    def score(self, sequence: str, parts: list[tuple[int, str]], strategy: str) -> float:
        """Of (0-based index, new letter)s."""
        if strategy == "pppl":
            mutated = list(sequence)
            for index, letter in parts:
                mutated[index] = letter
            return self.pll("".join(mutated)) - self.pll(sequence)
        masked = strategy == "masked-marginals"
        return sum(
            self.log_p(sequence, index, letter, masked)
            - self.log_p(sequence, index, sequence[index], masked)
            for index, letter in parts
        )


@pytest.fixture(scope="module")
def oracle(reference):
    return Oracle(reference("tiny").directory)


PARTS = [
    [(0, "W")],
    [(23, "A")],
    [(2, "A"), (3, "G")],
    [(0, "K"), (11, "P"), (22, "X")],
    [(20, "L")],  # of an X
    [(5, "A"), (1, PROTEIN[1])],
]
VARIANTS = [":".join(f"{PROTEIN[i]}{i + 1}{mt}" for i, mt in parts) for parts in PARTS]


# --- against the oracle ------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["wt-marginals", "masked-marginals", "pppl"])
def test_scores_are_those_of_a_loop_over_transformers(model, oracle, strategy):
    got = model.score_variants(PROTEIN, VARIANTS, strategy)
    want = [oracle.score(PROTEIN, parts, strategy) for parts in PARTS]
    assert got.dtype == np.float64
    assert_scores(got, want)
    assert np.abs(got).min() > 0.05


@pytest.mark.parametrize("strategy", ["wt-marginals", "masked-marginals"])
def test_a_scan_is_every_substitution_as_a_loop_over_transformers_gives_it(model, oracle, strategy):
    scan = model.scan(PROTEIN, strategy)
    want = [
        [oracle.score(PROTEIN, [(index, letter)], strategy) for index in range(len(PROTEIN))]
        for letter in AMINO_ACIDS
    ]
    assert scan.scores.shape == (20, 24)
    assert_scores(scan.scores, want)
    for index, letter in enumerate(PROTEIN):
        if letter != "X":
            assert scan.scores[AMINO_ACIDS.index(letter), index] == 0.0


def test_pll_is_the_sum_over_masked_residues_of_transformers(model, oracle):
    sequences = [PROTEIN, "M", "XBUZO.-"]
    got = model.pll(sequences)
    want = [oracle.pll(sequence) for sequence in sequences]
    assert_scores(got, want)


def test_log_prob_is_the_sum_over_unmasked_residues_of_transformers(model, oracle):
    sequences = [PROTEIN, "M", "XBUZO.-", "MKX"]
    assert_scores(model.log_prob(sequences), [oracle.log_prob(own) for own in sequences])


# --- what follows from the definitions ---------------------------------------------------------


@pytest.mark.parametrize("strategy", ["wt-marginals", "masked-marginals", "pppl"])
def test_what_changes_nothing_scores_0(model, strategy):
    same = f"{PROTEIN[4]}5{PROTEIN[4]}"
    assert model.score_variants(PROTEIN, ["WT", same], strategy).tolist() == [0.0, 0.0]
    assert model.score_variants(PROTEIN, [], strategy).shape == (0,)


@pytest.mark.parametrize("strategy", ["wt-marginals", "masked-marginals"])
def test_a_multiple_mutant_is_the_sum_of_its_substitutions(model, strategy):
    whole, *parts = model.score_variants(PROTEIN, [VARIANTS[3], *VARIANTS[3].split(":")], strategy)
    assert_scores(whole, sum(parts))


def test_a_scan_agrees_with_the_scores_of_its_substitutions(model):
    scan = model.scan(PROTEIN)
    listed = list(scan.substitutions())
    assert len(listed) == 19 * 23 + 20
    assert len(scan.positions) == len(scan.residues) == 24
    some = listed[::37]
    names = [f"{wt}{position}{mt}" for position, wt, mt, _ in some]
    want = model.score_variants(PROTEIN, names)
    assert_scores([score for *_, score in some], want)


def test_company_does_not_change_a_score(model):
    alone = [model.score_variants(PROTEIN, [variant])[0] for variant in VARIANTS]
    assert_scores(model.score_variants(PROTEIN, VARIANTS), alone)


# --- passes ------------------------------------------------------------------------------------


def passes(variants: list[str], strategy: str) -> list[ForwardRequest]:
    tokens = tokenize(PROTEIN)
    work = marginals.scores(tokens, place(variants, tokens), strategy)
    requests = list(work.requests())
    assert len(requests) == work.passes
    assert sum(len(request.tokens) for request in requests) == work.tokens
    return requests


def test_masked_marginals_have_one_pass_for_each_distinct_position():
    requests = passes([*VARIANTS, VARIANTS[0], "WT"], "masked-marginals")
    masked = [np.flatnonzero(request.tokens == MASK).tolist() for request in requests]
    assert masked == [[i + 1] for i in (0, 1, 2, 3, 5, 11, 20, 22, 23)]
    assert all(request.want.masks_only for request in requests)


def test_wt_marginals_have_one_pass_and_pppl_one_for_each_residue_of_each_variant():
    assert len(passes(VARIANTS, "wt-marginals")) == 1
    assert len(passes(VARIANTS, "pppl")) == 24 * (1 + len(VARIANTS))
    for strategy in ("wt-marginals", "masked-marginals", "pppl"):
        assert passes(["WT"], strategy) == []


def test_passes_are_made_as_they_are_taken():
    """A scan of the longest protein would be 4 MB of tokens, 1,000 variants of it 4 GB."""
    tokens = tokenize("M" * 2048)
    work = marginals.scores(tokens, place(["M1K"] * 1000, tokens), "pppl")
    assert work.passes == 2048 * 1001
    assert len(list(islice(work.requests(), 3))) == 3


def flat(request: ForwardRequest) -> Outputs:
    """Every token as likely as any other."""
    rows = (request.tokens == MASK).sum() if request.want.masks_only else len(request.tokens) - 2
    return Outputs(logits=np.zeros((rows, 33), np.float32))


def test_results_come_in_turn_and_requests_are_taken_as_far_ahead_as_the_forward_likes():
    taken = []

    def forward(requests: Iterator[ForwardRequest]) -> Iterator[Outputs]:
        """Two requests ahead."""
        ahead = list(islice(requests, 2))
        while ahead:
            taken.append(len(ahead[0].tokens) - 2)
            yield flat(ahead.pop(0))
            ahead += islice(requests, 1)

    works = ((name, marginals.pll(tokenize(name))) for name in ["MKT", "W", "MK"])
    results = in_turn(works, forward)
    name, value = next(results)
    assert (name, taken) == ("MKT", [3, 3, 3])
    assert value == pytest.approx(-3 * np.log(33))
    assert [name for name, _ in results] == ["W", "MK"]
    assert taken == [3, 3, 3, 1, 2, 2]


# --- refusals ----------------------------------------------------------------------------------


def test_a_mask_cannot_be_scored(model):
    for ask in (
        lambda: model.score_variants("MK<mask>", ["M1K"]),
        lambda: model.scan("MK<mask>"),
    ):
        with pytest.raises(MaskNotAllowed):
            ask()
    with pytest.raises(InvalidRequest, match=r"sequences\[1\]"):
        model.pll(["MK", "M<mask>"])


def test_a_strategy_that_there_is_not_is_a_mistake_of_the_program(model):
    with pytest.raises(ValueError, match="masked-marginals, wt-marginals, pppl"):
        model.score_variants("MK", ["M1K"], "wt")
    with pytest.raises(ValueError, match="masked-marginals, wt-marginals"):
        model.scan("MK", "pppl")
    with pytest.raises(TypeError, match="pass a list"):
        model.score_variants("MK", "M1K")


def test_a_closed_model_scores_nothing(reference):
    with esm2.load(reference("tiny").directory, device="cpu") as loaded:
        pass
    with pytest.raises(ValueError, match="closed"):
        loaded.scan("MK")


def test_the_offset_is_found_when_asked_for(model):
    written = [f"{letter}{number + 23}W" for number, letter in enumerate(PROTEIN[:19], 1)]
    want = model.score_variants(PROTEIN, written, offset=23)
    np.testing.assert_array_equal(model.score_variants(PROTEIN, written, offset="auto"), want)
    with pytest.raises(InvalidRequest, match=r"variants\[0\]"):
        model.score_variants(PROTEIN, written)
