"""The actions that score: variants of a protein, all its substitutions, the protein itself.

They are ours, of v3 alone; docs/scoring.md defines the numbers. Each item is a `Work` of many
forward passes; binary replies hold what JSON says, float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, Field

from esm2.alphabet import AMINO_ACIDS, residue_tokens
from esm2.science.marginals import Scan, Work
from esm2.science.scoring import Double, pseudo_perplexity
from esm2.server.body import Rules
from esm2.server.encoding import numbers
from esm2.server.generation import Action, Asked
from esm2.server.score_bodies import (
    PllBody,
    ScanBody,
    ScoreBody,
    pll_works,
    scan_works,
    scoring_works,
)
from esm2.types import Float, Outputs

Result = TypeVar("Result")


def _asked(
    works: list[Work[Result]],
    made: Callable[[int, Result], Float],
    said: Callable[[int, Float], dict[str, Any]],
    name: str,
) -> Asked:
    """A question of many passes for each item.

    Args:
        made: item and what its work gave -> its numbers, float32.
        said: item and these numbers -> its result in JSON.
        name: of its array in binary replies.
    """

    def values(outputs: list[Outputs]) -> Iterator[tuple[int, Float]]:
        stream = iter(outputs)
        return ((item, made(item, work.read(stream))) for item, work in enumerate(works))

    return Asked(
        [each for work in works for each in work.requests()],
        lambda outputs: {"results": [said(item, own) for item, own in values(outputs)]},
        lambda outputs: {f"{item}.{name}": own for item, own in values(outputs)},
    )


class VariantScore(BaseModel):
    """The score of one variant."""

    variant: str = Field(description="as it was sent")
    score: float = Field(
        description="log-likelihood ratio to the wild type in nats; 0 where nothing is changed"
    )


class Scores(BaseModel):
    """The scores of one item."""

    scores: list[VariantScore] = Field(description="one for each variant, in the same order")


class ScoreAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[Scores]


def _score_asked(body: ScoreBody, rules: Rules) -> Asked:
    def said(item: int, values: Float) -> dict[str, Any]:
        pairs = zip(body.items[item].variants, values.tolist(), strict=True)
        return {"scores": [{"variant": variant, "score": score} for variant, score in pairs]}

    return _asked(scoring_works(body, rules), lambda _, own: own.astype(np.float32), said, "scores")


SCORE = Action(
    name="score",
    summary="Zero-shot scores of variants of proteins",
    takes=ScoreBody,
    example={"items": [{"sequence": "MKTAYIAKQR", "variants": ["A4G", "K2R:Q9E"]}]},
    masks="none",
    gives=ScoreAnswer,
    asked=_score_asked,
)


class ScanResult(BaseModel):
    """Every substitution of one item."""

    scores: list[list[float]] = Field(
        description="L x 20: log-likelihood ratio to the wild type in nats of each amino acid at"
        " each residue; 0 for the wild type"
    )
    vocab_tokens: list[str] = Field(description="the columns of scores")


class ScanAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[ScanResult]


def _scan_asked(body: ScanBody, rules: Rules) -> Asked:
    def made(item: int, table: Double) -> Float:
        return Scan.of(body.items[item].sequence, table).scores.T.astype(np.float32)

    def said(_: int, values: Float) -> dict[str, Any]:
        return {"scores": numbers(values), "vocab_tokens": list(AMINO_ACIDS)}

    return _asked(scan_works(body, rules), made, said, "scores")


SCAN = Action(
    name="scan",
    summary="Zero-shot scores of every substitution of proteins",
    takes=ScanBody,
    example={"items": [{"sequence": "MKTAYIAKQR"}], "params": {"strategy": "wt-marginals"}},
    masks="none",
    gives=ScanAnswer,
    asked=_scan_asked,
)


class PllResult(BaseModel):
    """How likely the model finds one item."""

    pll: float = Field(description="pseudo-log-likelihood in nats, each residue masked in turn")
    pseudo_perplexity: float = Field(description="exp(-pll / L)")


class PllAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[PllResult]


def _pll_asked(body: PllBody, rules: Rules) -> Asked:
    def said(item: int, value: Float) -> dict[str, Any]:
        residues = residue_tokens(body.items[item].sequence).size
        return {"pll": float(value), "pseudo_perplexity": pseudo_perplexity(float(value), residues)}

    return _asked(pll_works(body, rules), lambda _, own: np.array(own, np.float32), said, "pll")


PLL = Action(
    name="pll",
    summary="Pseudo-log-likelihood and pseudo-perplexity of proteins",
    takes=PllBody,
    example={"items": [{"sequence": "MKTAYIAKQR"}]},
    masks="none",
    gives=PllAnswer,
    asked=_pll_asked,
)
