"""What the model is shown: windows of real proteins, and what is hidden in them."""

from __future__ import annotations

import numpy as np
import pytest

from esm2.alphabet import AMINO_ACID_COLUMNS, MASK, tokenize
from tests.proteins import residues
from tests.training.conftest import LENGTHS
from training.proteins import LEARNING, TESTING, Windows, hidden_once, hide, homologues, read_tokens

NATURAL = range(AMINO_ACID_COLUMNS.start, AMINO_ACID_COLUMNS.stop)


@pytest.fixture
def proteins(data):
    return read_tokens(data / "proteins.fasta.gz")


def draw(windows: Windows, count: int):
    return [windows.draw(np.random.default_rng((0, number)), 512) for number in range(count)]


def whole(batch) -> np.ndarray:
    """The tokens of a batch before anything was hidden."""
    tokens = batch.tokens.copy()
    tokens.ravel()[batch.picked] = batch.targets
    return tokens


def test_every_row_is_a_stretch_of_a_protein_and_all_rows_are_equally_long(proteins):
    texts = [bytes(tokens) for tokens in proteins]
    for batch in draw(Windows(proteins, crop=128), 50):
        rows, width = batch.tokens.shape
        assert width % 16 == 0
        assert 32 <= width <= 128
        assert rows == 512 // width
        for row in whole(batch):
            assert any(bytes(row.astype(np.uint8)) in text for text in texts)


def test_long_proteins_are_cut_at_every_offset_from_bos_to_eos(proteins):
    longest = proteins[-1]
    starts = set()
    for batch in draw(Windows([longest], crop=256), 400):
        for row in whole(batch):
            starts.add(bytes(longest).index(bytes(row.astype(np.uint8))))
    assert starts == set(range(len(longest) - 256 + 1))


def test_residues_are_drawn_about_equally_often_whatever_the_length_of_their_protein():
    long, short = tokenize("A" * 510), tokenize("C" * 62)
    seen = np.zeros(33)
    for batch in draw(Windows([long, short], crop=64), 300):
        seen += np.bincount(whole(batch).ravel(), minlength=33)
    counts = seen[[tokenize("A")[1], tokenize("C")[1]]]
    assert counts[0] / counts[1] == pytest.approx(510 / 62, rel=0.2)


def test_a_batch_depends_on_its_seed_alone(proteins):
    once, again = (draw(Windows(proteins, crop=64), 5) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert np.array_equal(a.tokens, b.tokens)
        assert np.array_equal(a.picked, b.picked)
    assert not np.array_equal(once[0].tokens, once[1].tokens)


def test_learning_hides_15_percent_of_the_natural_residues_80_10_10():
    tokens = np.stack([tokenize("".join(residues(998, rare=0.1, seed=s))) for s in range(50)])
    batch = hide(tokens.astype(np.int64), np.random.default_rng(0), LEARNING)
    natural = np.isin(tokens, NATURAL).sum()
    assert len(batch.picked) == round(0.15 * natural)
    assert len(set(batch.picked)) == len(batch.picked)
    assert set(batch.targets) == set(NATURAL)
    assert np.array_equal(tokens.ravel()[batch.picked], batch.targets)
    now = batch.tokens.ravel()[batch.picked]
    assert (now == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert set(now) <= {MASK, *NATURAL}
    # One in twenty of those replaced at random is the residue that was there.
    assert ((now != MASK) & (now != batch.targets)).mean() == pytest.approx(0.095, abs=0.02)
    untouched = np.ones(tokens.size, dtype=bool)
    untouched[batch.picked] = False
    assert np.array_equal(batch.tokens.ravel()[untouched], tokens.ravel()[untouched])


def test_testing_masks_all_that_is_chosen_the_same_at_every_call(proteins):
    once, again = hidden_once(proteins), hidden_once(proteins)
    for tokens, a, b in zip(proteins, once, again, strict=True):
        assert (a.tokens[0, a.picked] == MASK).all()
        assert len(a.picked) == max(1, round(0.15 * (len(tokens) - 2)))
        assert np.array_equal(a.tokens, b.tokens)
        assert np.array_equal(whole(a)[0], tokens)
    assert TESTING == (1.0, 0.0)


def test_the_homologues_of_the_structures_are_left_out(data):
    assert len(homologues()) == 492
    kept = read_tokens(data / "proteins.fasta.gz", without={"p0", "p2"})
    assert [len(tokens) - 2 for tokens in kept] == [LENGTHS[1], *LENGTHS[3:]]
