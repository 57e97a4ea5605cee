"""Scores that need many forward passes: which passes, and what to make of their outputs.

    wt-marginals       one pass, nothing masked           sum of log p(mt) - log p(wt)
    masked-marginals   one pass for each mutated position,
                       that position masked               the same, each from its own pass
    pppl               one pass for each residue of the wild type and of each variant
                                                          PLL(variant) - PLL(wild type)

    Work.requests()  ──>  [ any executor ]  ──>  Work.read(outputs in the same order)

Both sides are streams: requests are made one at a time and outputs are taken in one at a time, so
neither a protein of 2,048 residues nor a thousand variants are ever in memory at once. Pure: who
runs the passes is the caller's business. p is a softmax over all 33 tokens, in float64.

Source: Meier et al. 2021, Language models enable zero-shot prediction of the effects of mutations
on protein function, and examples/variant-prediction/predict.py in facebookresearch/esm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from esm2.alphabet import AMINO_ACID_COLUMNS, AMINO_ACIDS, MASK, letters, residue_tokens
from esm2.science import scoring
from esm2.science.scoring import Double
from esm2.science.variants import Sites
from esm2.types import Float, ForwardRequest, Outputs, Want

Strategy = Literal["masked-marginals", "wt-marginals", "pppl"]
#: Those that give every substitution of a protein at once.
ScanStrategy = Literal["masked-marginals", "wt-marginals"]

Tokens = NDArray[np.uint8]
Result = TypeVar("Result")
Key = TypeVar("Key")

_UNMASKED = Want(logits=True)
_MASKED = Want(logits=True, masks_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Work(Generic[Result]):
    """Forward passes, and what they are for.

    Attributes:
        passes: how many.
        tokens: of all passes together; what they cost.
        requests: makes the passes, one at a time.
        read: their outputs, in the same order -> the result. It takes exactly `passes` of them.
    """

    passes: int
    tokens: int
    requests: Callable[[], Iterator[ForwardRequest]]
    read: Callable[[Iterator[Outputs]], Result]


def in_turn(
    works: Iterable[tuple[Key, Work[Result]]],
    forward: Callable[[Iterator[ForwardRequest]], Iterator[Outputs]],
) -> Iterator[tuple[Key, Result]]:
    """Each result as soon as it is there, of any number of works of one pass or more.

    Args:
        works: taken when `forward` wants more requests.
        forward: requests -> outputs in their order, as far ahead of them as it likes.
    """
    begun: deque[tuple[Key, Work[Result]]] = deque()

    def requests() -> Iterator[ForwardRequest]:
        for key, work in works:
            begun.append((key, work))
            yield from work.requests()

    outputs = forward(requests())
    for first in outputs:
        key, work = begun.popleft()
        yield key, work.read(chain([first], islice(outputs, work.passes - 1)))


# --- one sequence ------------------------------------------------------------------------------


def log_prob(tokens: Tokens) -> Work[float]:
    """`scoring.log_prob` of a sequence: one pass, nothing masked, a softmax over the 20."""
    return Work(
        passes=1,
        tokens=len(tokens),
        requests=lambda: iter([ForwardRequest(tokens, _UNMASKED)]),
        read=lambda outputs: scoring.log_prob(_logits(next(outputs)), tokens),
    )


def pll(tokens: Tokens) -> Work[float]:
    """The pseudo-log-likelihood: sum over residues i of log p(x_i | x with i masked), in nats.

    Args:
        tokens: uint8 (L + 2,), no mask.
    """
    residues = len(residue_tokens(tokens))
    return Work(
        passes=residues,
        tokens=residues * len(tokens),
        requests=lambda: _each_masked(tokens, range(residues)),
        read=lambda outputs: _pll(outputs, tokens),
    )


def log_probabilities(tokens: Tokens, strategy: ScanStrategy) -> Work[Double]:
    """log p of all 33 tokens at each residue: float64 (L, 33).

    Args:
        tokens: uint8 (L + 2,), no mask.
        strategy: with each residue masked in a pass of its own, or all from one unmasked pass.
    """
    return _table(tokens, np.arange(len(residue_tokens(tokens))), strategy)


def _table(tokens: Tokens, index: NDArray[np.int64], strategy: ScanStrategy) -> Work[Double]:
    """log p of all tokens at the residues `index`: float64 (k, 33)."""
    if strategy == "wt-marginals":
        passes = min(1, index.size)
        return Work(
            passes=passes,
            tokens=passes * len(tokens),
            requests=lambda: iter([ForwardRequest(tokens, _UNMASKED)] * passes),
            read=lambda outputs: _stacked(
                scoring.log_softmax(_logits(own)[index]) for own in islice(outputs, passes)
            ),
        )
    return Work(
        passes=index.size,
        tokens=index.size * len(tokens),
        requests=lambda: _each_masked(tokens, index),
        read=lambda outputs: _stacked(
            scoring.log_softmax(_logits(own)) for own in islice(outputs, index.size)
        ),
    )


def _stacked(rows: Iterable[Double]) -> Double:
    return np.concatenate([np.empty((0, 33)), *rows])


def _each_masked(tokens: Tokens, index: Iterable[int]) -> Iterator[ForwardRequest]:
    for place in index:
        masked = tokens.copy()
        residue_tokens(masked)[place] = MASK
        yield ForwardRequest(masked, _MASKED)


def _pll(outputs: Iterator[Outputs], tokens: Tokens) -> float:
    residues = residue_tokens(tokens)
    own = islice(outputs, len(residues))
    return sum(
        float(scoring.log_softmax(_logits(output))[0, token])
        for output, token in zip(own, residues, strict=True)
    )


def _logits(outputs: Outputs) -> Float:
    assert outputs.logits is not None, "they were asked for"
    return outputs.logits


# --- variants ----------------------------------------------------------------------------------


def scores(tokens: Tokens, sites: Sites, strategy: Strategy) -> Work[Double]:
    """The score of each variant of a protein: float64 (n,), in nats; above 0 it is preferred.

    A variant that changes nothing scores 0.

    Args:
        tokens: uint8 (L + 2,), the wild type, no mask.
        sites: its variants.
        strategy: see above.
    """
    if strategy == "pppl":
        return _pppl(tokens, sites)
    index, row = np.unique(sites.index, return_inverse=True)
    table = _table(tokens, index, strategy)

    def read(outputs: Iterator[Outputs]) -> Double:
        logs = table.read(outputs)
        ratios = logs[row, sites.mutant] - logs[row, sites.wild]
        sums: Double = np.bincount(sites.variant, ratios, sites.count).astype(np.float64)
        return sums

    return Work(table.passes, table.tokens, table.requests, read)


def _pppl(tokens: Tokens, sites: Sites) -> Work[Double]:
    changed = np.unique(sites.variant[sites.wild != sites.mutant])
    passes = len(residue_tokens(tokens)) * (1 + changed.size) if changed.size else 0

    def sequences() -> Iterator[Tokens]:
        """The wild type and each variant that differs from it; nothing where none does."""
        if changed.size:
            yield tokens
        for number in changed:
            begin, end = np.searchsorted(sites.variant, [number, number + 1])
            mutated = tokens.copy()
            residue_tokens(mutated)[sites.index[begin:end]] = sites.mutant[begin:end]
            yield mutated

    def read(outputs: Iterator[Outputs]) -> Double:
        likelihoods = np.array([_pll(outputs, own) for own in sequences()])
        differences = np.zeros(sites.count)
        differences[changed] = likelihoods[1:] - likelihoods[:1]
        return differences

    return Work(
        passes,
        passes * len(tokens),
        lambda: chain.from_iterable(pll(own).requests() for own in sequences()),
        read,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Every substitution of a protein.

    Attributes:
        tokens: uint8 (L + 2,), the protein.
        scores: float64 (20, L), log p(mt) - log p(wt) in nats; rows are `alphabet.AMINO_ACIDS`. The
            cell of the wild type is 0.
        log_probabilities: float64 (L, 33), log p of every token at each residue; `scoring.entropy`
            and `scoring.conservation` read it. None where a server scored.
    """

    tokens: Tokens
    scores: Double
    log_probabilities: Double | None = None

    @classmethod
    def of(cls, tokens: Tokens, log_probabilities: Double) -> Scan:
        """Of what the model expects at each residue.

        Raises:
            ValueError: the table is not of all 33 tokens at every residue of the protein.
        """
        residues = residue_tokens(tokens)
        scoring.check_33(log_probabilities, "log_probabilities", residues.size)
        wild = log_probabilities[np.arange(residues.size), residues]
        ratios: Double = log_probabilities[:, AMINO_ACID_COLUMNS] - wild[:, np.newaxis]
        return cls(tokens, ratios.T, log_probabilities)

    @property
    def residues(self) -> list[str]:
        """The L letters of the protein."""
        return letters(self.tokens)

    @property
    def positions(self) -> NDArray[np.int64]:
        """1..L."""
        return np.arange(1, len(residue_tokens(self.tokens)) + 1)

    def substitutions(self) -> Iterator[tuple[int, str, str, float]]:
        """(position, wt, mt, score) of every substitution, position by position."""
        columns = self.scores.T
        for position, wild, column in zip(self.positions, self.residues, columns, strict=True):
            for mutant, score in zip(AMINO_ACIDS, column, strict=True):
                if mutant != wild:
                    yield int(position), wild, mutant, float(score)
