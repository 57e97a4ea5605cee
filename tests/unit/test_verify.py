"""Verification passes what equals the published numbers and nothing else, and names what fails."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esm2 import verify
from esm2.alphabet import AMINO_ACIDS, BOS, EOS, MASK, TOKENS, letters, residue_tokens
from esm2.catalog import DEMO_SLUG, SLUGS, Shape, find
from esm2.errors import ContactsUnavailable, NoReference
from esm2.types import Executor, ForwardRequest, Outputs, Want
from esm2.verify import Case, Comparison
from tools import reference

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "src" / "esm2" / "reference"


# --- fakes: an executor is a function --------------------------------------------------------


def published(wanted: list[Case]) -> dict[bytes, Outputs]:
    """tokens -> outputs that are exactly the published numbers, and zero where there are none."""
    answers: dict[bytes, Outputs] = {}
    for case in wanted:
        outputs = answers.setdefault(case.tokens.tobytes(), Outputs())
        array = np.zeros(case.shape, dtype=np.float64)
        if case.kind == "log_prob":
            array[:] = log_prob_logits(case)
        else:
            first = TOKENS.index("L") if case.kind == "amino_logits" else 0
            corner = [slice(size) for size in case.expected.shape]
            corner[-1] = slice(first, first + case.expected.shape[-1])
            array[tuple(corner)] = case.expected
        if case.layer is None:
            answers[case.tokens.tobytes()] = replace(outputs, **{case.output: array})
        else:
            getattr(outputs, case.output)[case.layer] = array
    return answers


def log_prob_logits(case: Case) -> np.ndarray:
    """(L, 33) logits whose log-probability is the expected one: the same share at each residue."""
    residues = residue_tokens(case.tokens)
    share = np.exp(case.expected / len(residues))
    logits = np.full(case.shape, 50.0)  # no other column may count
    logits[:, 4:24] = 0
    logits[np.arange(len(residues)), residues] = np.log(19 * share / (1 - share))
    return logits


def executor(answers: dict[bytes, Outputs]) -> Executor:
    return lambda requests: [answers[request.tokens.tobytes()] for request in requests]


def change(answers: dict[bytes, Outputs], case: Case, array: Any) -> None:
    """Give another array for the output that a case looks at."""
    outputs = answers[case.tokens.tobytes()]
    if case.layer is None:
        answers[case.tokens.tobytes()] = replace(outputs, **{case.output: array})
    else:
        getattr(outputs, case.output)[case.layer] = array


def given(answers: dict[bytes, Outputs], case: Case) -> np.ndarray:
    found = getattr(answers[case.tokens.tobytes()], case.output)
    return found if case.layer is None else found[case.layer]


def failed(compared: list[Comparison]) -> set[tuple[str, str, str]]:
    return {(c.case.name, c.case.label, c.case.measure) for c in compared if not c.passed}


def key(case: Case) -> tuple[str, str, str]:
    return case.name, case.label, case.measure


#: One case of each kind and measure, over all slugs.
EACH_KIND = list({(c.kind, c.measure): (s, c) for s in SLUGS for c in verify.cases(s)}.values())
NUDGED = [(slug, case) for slug, case in EACH_KIND if case.measure == "largest"]


def ids(entry: tuple[str, Case]) -> str:
    return f"{entry[1].kind}-{entry[1].measure}".replace(" ", "")


# --- comparing -------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", SLUGS)
def test_exactly_the_published_numbers_pass_every_case(slug):
    compared = verify.run(slug, executor(published(verify.cases(slug))))

    assert len(compared) == len(verify.cases(slug)) > 0
    assert failed(compared) == set()
    assert max(c.difference for c in compared) < 1e-9


@pytest.mark.parametrize("entry", NUDGED, ids=ids)
def test_one_number_off_by_twice_the_limit_fails_and_is_named(entry):
    slug, case = entry
    answers = published(verify.cases(slug))
    array = given(answers, case)
    if case.kind == "log_prob":  # all residues lose the same share
        array[:] = log_prob_logits(replace(case, expected=case.expected - 2 * case.limit))
    else:
        column = TOKENS.index("L") if case.kind == "amino_logits" else 0
        array[(0,) * (array.ndim - 1) + (column,)] += 2 * case.limit

    compared = verify.run(slug, executor(answers))

    assert failed(compared) == {key(case)}
    (fault,) = [c for c in compared if not c.passed]
    assert fault.difference == pytest.approx(2 * case.limit, rel=1e-6)


@pytest.mark.parametrize("entry", NUDGED, ids=ids)
def test_one_number_off_by_half_the_limit_passes(entry):
    slug, case = entry
    answers = published(verify.cases(slug))
    array = given(answers, case)
    if case.kind == "log_prob":
        array[:] = log_prob_logits(replace(case, expected=case.expected - case.limit / 2))
    else:
        column = TOKENS.index("L") if case.kind == "amino_logits" else 0
        array[(0,) * (array.ndim - 1) + (column,)] += case.limit / 2

    assert failed(verify.run(slug, executor(answers))) == set()


def test_a_constant_factor_that_no_cosine_sees_fails():
    wanted = [case for case in verify.cases("esm2-8m") if case.name == "fair-esm-61aa"]
    answers = published(wanted)
    for case in wanted:
        change(answers, case, given(published(wanted), case) * 1.06)

    assert {measure for _, _, measure in failed(verify.check(wanted, executor(answers)))} == {
        "relative L2"
    }


def test_one_wrong_residue_in_thirty_fails_the_residue_cosine():
    (case,) = [
        case
        for case in verify.cases("esm2-8m")
        if (case.name, case.measure) == ("fair-esm-29aa", "1 - cosine, p1")
    ]
    answers = published([case])
    given(answers, case)[3] *= -1

    (compared,) = verify.check([case], executor(answers))
    assert not compared.passed
    assert compared.difference > 1


@pytest.mark.parametrize(
    ("measure", "got", "expected", "difference"),
    [
        ("largest", [1.0, -2.0], [1.5, -2.25], 0.5),
        ("1 - cosine", [3.0, 0.0], [0.0, 1.0], 1.0),
        ("1 - cosine", [1.0, 1.0], [2.0, 2.0], 0.0),
        ("1 - cosine, p1", [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]], 0.0),
        ("1 - cosine, pooled", [[1.0, 3.0], [1.0, -3.0]], [[5.0, 0.0], [5.0, 0.0]], 0.0),
        ("relative L2", [3.0, 4.0], [0.0, 4.0], 0.75),
    ],
)
def test_a_measure_is_what_its_name_says(measure, got, expected, difference):
    found = verify.MEASURES[measure](np.array(got), np.array(expected))
    assert found == pytest.approx(difference, abs=1e-15)


def test_a_row_of_zeros_has_no_cosine_and_fails():
    case = next(c for c in verify.cases("esm2-8m") if c.measure == "1 - cosine, p1")
    outputs = Outputs(per_token={6: np.zeros(case.shape, dtype=np.float32)})
    compared = verify.compare(case, outputs)
    assert not compared.passed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entry", EACH_KIND, ids=ids)
def test_a_number_that_is_not_finite_fails_even_where_nothing_was_published(entry, value):
    slug, case = entry
    answers = published(verify.cases(slug))
    given(answers, case).reshape(-1)[-1] = value  # outside every corner

    compared = verify.run(slug, executor(answers))

    assert key(case) in failed(compared)
    faults = {c.fault for c in compared if not c.passed}
    assert f"{case.label} holds NaN or infinity" in faults


@pytest.mark.parametrize("entry", EACH_KIND, ids=ids)
def test_another_shape_fails_in_a_sentence_and_is_never_broadcast(entry):
    slug, case = entry
    answers = published(verify.cases(slug))
    change(answers, case, given(answers, case)[..., :-1])
    smaller = (*case.shape[:-1], case.shape[-1] - 1)

    compared = [c for c in verify.run(slug, executor(answers)) if key(c.case) == key(case)]

    assert [c.fault for c in compared] == [
        f"{case.label} has shape {smaller}, expected {case.shape}"
    ]
    assert not compared[0].passed


def test_an_output_that_is_absent_fails():
    wanted = [case for case in verify.cases("esm2-650m") if case.name == "biolm-v2-176aa"]
    compared = verify.check(wanted, lambda requests: [Outputs() for _ in requests])

    assert failed(compared) == {key(case) for case in wanted}
    assert compared[0].fault == "no mean, layer 33: the model gave none"


def test_without_a_contact_head_only_the_contacts_fail():
    answers = published(verify.cases("esm2-650m"))

    def headless(requests: list[ForwardRequest]) -> list[Outputs]:
        if any(request.want.contacts for request in requests):
            raise ContactsUnavailable("esm2-650m")
        given = [answers[request.tokens.tobytes()] for request in requests]
        return [replace(outputs, contacts=None) for outputs in given]

    compared = verify.run("esm2-650m", headless)

    assert {label for _, label, _ in failed(compared)} == {"contacts"}
    assert all("has no contact head" in c.fault for c in compared if not c.passed)
    assert len(compared) == len(verify.cases("esm2-650m"))


def test_each_recording_is_run_once_and_only_for_what_was_published():
    asked: list[ForwardRequest] = []
    answers = published(verify.cases("esm2-650m"))

    def watch(requests: list[ForwardRequest]) -> list[Outputs]:
        asked.extend(requests)
        return executor(answers)(requests)

    verify.run("esm2-650m", watch)

    names = [case.name for case in verify.cases("esm2-650m")]
    assert len(asked) == len(set(names))
    wants = {len(request.tokens) - 2: request.want for request in asked}
    assert wants[246] == Want((33,), mean=True)
    assert wants[176] == Want((33,), mean=True, logits=True, contacts=True, attentions=True)
    assert wants[17] == Want((32, 33), mean=True, per_token=True)


def test_a_log_probability_is_over_the_twenty_amino_acids_at_the_true_residues():
    case = next(case for case in verify.cases("esm2-650m") if case.kind == "log_prob")
    logits = np.random.default_rng(0).normal(0, 3, case.shape).astype(np.float32)
    total = 0.0
    for row, letter in zip(logits.astype(np.float64), letters(case.tokens), strict=True):
        exponents = np.exp(row[4:24])
        total += np.log(exponents[AMINO_ACIDS.index(letter)] / exponents.sum())

    compared = verify.compare(case, Outputs(logits=logits))

    assert compared.difference == pytest.approx(abs(total - float(case.expected)), rel=1e-12)


# --- the numbers in the package --------------------------------------------------------------


@pytest.mark.parametrize("slug", SLUGS)
def test_every_official_slug_has_numbers_and_each_says_where_it_is_from(slug):
    checkpoint = find(slug)
    assert checkpoint is not None
    wanted = verify.cases(slug)

    kinds = {case.kind for case in wanted}
    assert {"per_token", "logits", "mean", "amino_logits"} <= kinds
    for case in wanted:
        assert "@" in case.source or case.name.startswith(("transformers-", "log-prob-"))
        assert case.limit > 0
        assert np.isfinite(case.expected).all()
        assert case.layer is None or 0 < case.layer <= checkpoint.shape.layers
        assert case.tokens[0] == BOS
        assert (case.tokens[-1] == EOS) or case.name == "transformers-logits"
        assert (MASK in case.tokens) == ("predict" in case.name)


def test_any_spelling_of_an_official_slug_finds_its_numbers():
    names = [case.name for case in verify.cases("esm2-650m")]
    assert [case.name for case in verify.cases("facebook/esm2_t33_650M_UR50D")] == names


@pytest.mark.parametrize("slug", [DEMO_SLUG, "my-own"])
def test_a_model_nobody_published_numbers_for_cannot_be_verified(slug):
    with pytest.raises(NoReference, match=f"to verify {slug} against, so nothing was verified"):
        verify.run(slug, lambda requests: [Outputs() for _ in requests])


@pytest.mark.parametrize("slug", SLUGS)
def test_published_logits_prefer_the_residues_of_their_own_sequence(slug):
    """Columns, rows and sequences belong together: unmasked, the model mostly says what it sees."""
    agreeing: list[bool] = []
    for case in verify.cases(slug):
        if case.kind in ("logits", "amino_logits") and len(case.expected) == case.shape[0]:
            first = TOKENS.index("L") if case.kind == "amino_logits" else 0
            seen = residue_tokens(case.tokens)
            agrees = case.expected.argmax(axis=1) + first == seen
            agreeing += list(agrees[seen != MASK])

    assert len(agreeing) >= 100
    assert np.mean(agreeing) > 0.9


def test_published_means_are_the_means_of_the_published_residues():
    wanted = [case for case in verify.cases("esm2-650m") if case.name == "biolm-v3-encode-1"]
    means = {case.layer: case.expected for case in wanted if case.kind == "mean"}
    rows = {case.layer: case.expected for case in wanted if case.kind == "per_token"}

    assert set(means) == set(rows) == {32, 33}
    for layer, mean in means.items():
        np.testing.assert_allclose(rows[layer].mean(0), mean, rtol=0, atol=1e-4)


def test_the_numbers_quoted_by_the_pages_are_the_ones_in_the_package():
    quoted = {
        ("esm2-650m", "biolm-v2-page-encode", "attentions"): 0.00449674716219306,
        ("esm2-650m", "biolm-v2-page-encode", "contacts"): 0.004600186832249165,
        ("esm2-650m", "biolm-v2-page-predict", "amino_logits"): -0.8320964574813843,
        ("esm2-650m", "log-prob-1", "log_prob"): -84.14707884,
        ("esm2-3b", "biolm-v3-encode-1", "bos"): 0.046763572841882706,
        ("esm2-8m", "transformers-logits", "logits"): -6.3967,
        ("esm2-8m", "transformers-hidden", "bos"): 0.1444,
        ("esm2-8m", "transformers-hidden", "per_token"): 0.3034,
    }
    for (slug, name, kind), first in quoted.items():
        case = next(c for c in verify.cases(slug) if (c.name, c.kind) == (name, kind))
        assert case.expected.reshape(-1)[0] == pytest.approx(first, rel=1e-6)


def test_the_files_stay_small_and_hold_no_pickle():
    files = sorted(PACKAGED.glob("*.npz"))
    assert [file.stem for file in files] == sorted(SLUGS)
    assert sum(file.stat().st_size for file in files) < 2_500_000
    for file in files:
        with np.load(file, allow_pickle=False) as archive:
            assert all(archive[name].dtype.kind in "fuU" for name in archive.files)


@pytest.mark.skipif(
    not reference.GOLDEN.is_dir(),
    reason=f"needs the recordings it was made of, 5 MB in {reference.GOLDEN}; whose they are and"
    " where they were published: src/esm2/reference/README.md",
)
@pytest.mark.parametrize("slug", SLUGS)
def test_the_committed_files_are_what_the_tool_makes_of_the_originals(slug, tmp_path):
    made = tmp_path / "made.npz"
    reference.write(made, reference.recordings(slug, reference.GOLDEN))
    assert made.read_bytes() == (PACKAGED / f"{slug}.npz").read_bytes()


def test_a_reference_file_is_read_back_as_it_was_written(tmp_path):
    tokens = np.array([BOS, 20, 15, EOS], dtype=np.uint8)
    mean = np.array([0.5, -3.0], dtype=np.float32)
    path = tmp_path / "own.npz"
    recording = reference.Recording("one", "here", "float32", tokens, {"mean/2": mean})
    reference.write(path, [recording])

    largest, cosine = verify.read(path, Shape(2, 2, 1))

    assert (largest.name, largest.source, largest.label) == ("one", "here", "mean, layer 2")
    np.testing.assert_array_equal(largest.expected, mean)
    np.testing.assert_array_equal(largest.tokens, tokens)
    assert (largest.measure, largest.limit) == ("largest", pytest.approx(3e-4))
    assert (cosine.measure, cosine.limit) == ("1 - cosine", 1e-5)


def test_verification_needs_no_torch():
    script = "import sys, esm2.verify as v; v.cases('esm2-8m'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
