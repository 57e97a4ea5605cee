"""Scores, against torch's log_softmax over fair-esm's logits, scipy, and sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from esm2.alphabet import AMINO_ACID_COLUMNS, tokenize
from esm2.science.marginals import Scan
from esm2.science.scoring import (
    check_top_k,
    conservation,
    entropy,
    log_prob,
    log_softmax,
    pseudo_perplexity,
    spearman,
)
from tests.oracles import fair_esm_outputs

#: The columns as BioLM's documentation lists them.
COLUMNS = "LAGVSERTIDPKQNFYMHWC"


def oracle(logits: np.ndarray, sequence: str) -> float:
    """The sum over natural residues, residue by residue, in torch and float64."""
    twenty = torch.from_numpy(logits).double()[:, 4:24].log_softmax(dim=1)
    natural = [(place, letter) for place, letter in enumerate(sequence) if letter in COLUMNS]
    return sum(float(twenty[place, COLUMNS.index(letter)]) for place, letter in natural)


def random_logits(length: int, scale: float = 4.0) -> np.ndarray:
    numbers = np.random.default_rng(length).normal(0, scale, (length, 33))
    return numbers.astype(np.float32)


@pytest.mark.parametrize(
    "sequence",
    ["M", COLUMNS, "MKTAYIAKQRQISFVKSHFSRQ", "MKXBUZO.-TAY", "XMX", "WWWWWWWWWW"],
)
def test_it_is_the_sum_of_log_softmax_over_fair_esms_logits(reference, sequence):
    tiny = reference("tiny")
    logits = fair_esm_outputs(tiny.model, sequence)["logits"]
    got = log_prob(logits, tokenize(sequence))
    assert got < 0
    assert got == pytest.approx(oracle(logits, sequence), rel=1e-12)


def test_each_residue_counts_once_where_it_stands():
    """Column and place are not mixed up: one residue is certain, the other has 1 in 20."""
    logits = np.zeros((2, 33), dtype=np.float32)
    logits[0, AMINO_ACID_COLUMNS.start + COLUMNS.index("W")] = 100
    assert log_prob(logits, tokenize("WM")) == pytest.approx(-np.log(20), rel=1e-12)
    assert log_prob(logits, tokenize("MW")) == pytest.approx(-100 - np.log(20), rel=1e-12)


@pytest.mark.parametrize("shape", [(4, 20), (4, 32), (3, 33), (5, 33), (33,), (1, 4, 33), (0, 33)])
def test_logits_of_other_columns_or_rows_are_refused_and_never_scored(shape):
    with pytest.raises(
        ValueError, match=r"^logits has shape .*, and \(4, 33\) is wanted"
    ) as caught:
        log_prob(np.zeros(shape, np.float32), tokenize("MKTA"))
    assert ("of the 20 amino acids, as encode" in str(caught.value)) == (shape[-1] == 20)
    if shape[-1] != 33 or len(shape) != 2:
        for score in (entropy, conservation):
            with pytest.raises(ValueError, match=r"^log_probabilities has shape"):
                score(np.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 20), (3, 33)])
def test_a_scan_is_of_all_tokens_at_every_residue(shape):
    with pytest.raises(ValueError, match=r"^log_probabilities has shape"):
        Scan.of(tokenize("MKTA"), np.zeros(shape))


@pytest.mark.parametrize("letter", "XBUZO.-")
def test_a_letter_that_is_no_natural_amino_acid_is_left_out(letter):
    logits = random_logits(5)
    without = log_prob(np.delete(logits, 2, axis=0), tokenize("MKTA"))
    assert log_prob(logits, tokenize(f"MK{letter}TA")) == pytest.approx(without, rel=1e-12)


@pytest.mark.parametrize("sequence", ["X", "XXXXX", "XBUZO.-"])
def test_nothing_natural_gives_zero(sequence):
    got = log_prob(random_logits(len(sequence)), tokenize(sequence))
    assert got == 0.0
    assert type(got) is float


def test_the_columns_beside_the_twenty_have_no_share():
    logits = random_logits(4)
    want = log_prob(logits, tokenize("MKTA"))
    logits[:, :4] = 1e4
    logits[:, 24:] = 1e4
    assert log_prob(logits, tokenize("MKTA")) == want


def test_adding_a_number_to_all_logits_of_a_residue_changes_nothing():
    logits = random_logits(4)
    shifted = logits.astype(np.float64) + np.array([[1e6], [-1e6], [0.0], [3.0]])
    got = log_prob(shifted, tokenize("MKTA"))
    assert got == pytest.approx(log_prob(logits, tokenize("MKTA")), rel=1e-9)


@pytest.mark.parametrize("scale", [1e4, 1e30, float(np.finfo(np.float32).max)])
def test_extreme_logits_stay_finite(scale):
    """exp of them overflows, in float32 already above 88."""
    logits = np.full((2, 33), -scale, dtype=np.float32)
    logits[0, 4:24] = scale
    logits[1, AMINO_ACID_COLUMNS.start + COLUMNS.index("K")] = scale
    assert log_prob(logits, tokenize("MK")) == pytest.approx(-np.log(20), rel=1e-12)
    worst = log_prob(logits, tokenize("MM"))
    assert np.isfinite(worst)
    assert worst == pytest.approx(-2 * float(np.float32(scale)), rel=1e-3)


def test_the_logits_are_not_changed():
    logits = random_logits(4)
    before = logits.copy()
    log_prob(logits, tokenize("MKTA"))
    np.testing.assert_array_equal(logits, before)


# --- log_softmax, perplexity, entropy, conservation --------------------------------------------


def test_log_softmax_is_torchs_over_the_last_axis():
    logits = random_logits(7)
    want = torch.from_numpy(logits).double().log_softmax(dim=-1).numpy()
    np.testing.assert_allclose(log_softmax(logits), want, rtol=1e-12)
    np.testing.assert_allclose(log_softmax(logits[0]), want[0], rtol=1e-12)


def test_perplexity_is_1_where_all_is_certain_and_the_number_of_choices_where_nothing_is():
    assert pseudo_perplexity(0.0, 10) == 1.0
    assert pseudo_perplexity(-10 * np.log(33), 10) == pytest.approx(33)


def test_perplexities_of_several_are_those_of_each():
    sequences, pll = ["MKT", "GGSK"], np.array([-3.5, -9.25])
    several = pseudo_perplexity(pll, map(len, sequences))
    assert several.tolist() == [pseudo_perplexity(-3.5, 3), pseudo_perplexity(-9.25, 4)]
    for lengths in (3, [3], [3, 4, 5]):
        with pytest.raises(ValueError, match=r"pll has 2 and residues [13]; give as many of each"):
            pseudo_perplexity(pll, lengths)


@pytest.mark.parametrize("top_k", [1, 20, np.int64(3)])
def test_guesses_may_be_1_to_20(top_k):
    check_top_k(top_k)


@pytest.mark.parametrize(
    ("top_k", "error", "told"),
    [
        (0, ValueError, "top_k is 0; there are 20"),
        (21, ValueError, "top_k is 21"),
        ("5", TypeError, "top_k is str; pass a whole number"),
        (1.0, TypeError, "top_k is float"),
        (None, TypeError, "top_k is NoneType"),
        (True, TypeError, "top_k is a bool"),
    ],
)
def test_what_is_no_number_of_guesses_is_told_what_to_be(top_k, error, told):
    with pytest.raises(error, match=f"^{told}"):
        check_top_k(top_k)


def test_entropy_and_conservation_go_from_certain_to_any_of_twenty():
    logits = np.zeros((3, 33))
    logits[:, 24:] = 50  # the other tokens have no share
    logits[1, AMINO_ACID_COLUMNS.start] = 1000
    logits[2, AMINO_ACID_COLUMNS.start : AMINO_ACID_COLUMNS.start + 2] = 1000
    logs = log_softmax(logits)
    expected = np.array([np.log(20), 0, np.log(2)])
    np.testing.assert_allclose(entropy(logs), expected, atol=1e-9)
    np.testing.assert_allclose(conservation(logs), 1 - expected / np.log(20), atol=1e-9)


# --- spearman ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_scipys_with_and_without_ties(seed):
    source = np.random.default_rng(seed)
    one, other = source.normal(size=50), source.normal(size=50)
    for a, b in ((one, other), (one.round(0), other.round(0)), (one, one**3 + other / 9)):
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_spearman_is_of_ranks_alone():
    one = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(one, np.exp(one)) == pytest.approx(1)
    assert spearman(one, -(one**3)) == pytest.approx(-1)


@pytest.mark.parametrize("numbers", [[], [1.0], [2.0, 2.0, 2.0]])
def test_spearman_of_what_has_no_order_is_not_a_number(numbers):
    assert np.isnan(spearman(np.array(numbers), np.arange(float(len(numbers)))))
