"""What score, scan and pll are sent, and the passes that they become.

    {"items": [{"sequence": "MKT", "variants": ["K2R"]}], "params": {"strategy": "pppl"}}

One `Work` for each item; together they must be few enough to wait here at all.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, FailFast, Field

from esm2.errors import InvalidRequest, InvalidVariant, TooManySubstitutions, TooMuchWork
from esm2.science.marginals import (
    ScanStrategy,
    Strategy,
    Work,
    log_probabilities,
    pll,
    scores,
)
from esm2.science.scoring import Double
from esm2.science.variants import FARTHEST, SEPARATORS, place
from esm2.server.bodies import (
    LETTER,
    UNUSED,
    Asking,
    Items,
    Labelled,
    NotTooMany,
    Protein,
    Strict,
    listed,
    whole,
)
from esm2.server.body import Rules, ruled
from esm2.settings import MOST_SUBSTITUTIONS

Result = TypeVar("Result")

#: Of one request to score, each a future in the batcher.
MOST_PASSES = 20_000

_FEWER = "send fewer or shorter sequences in a request"
_CHEAPER = "or choose a strategy with fewer passes (wt-marginals needs one)"


def _not_too_many_variants(variants: object, _rules: Rules) -> object:
    if isinstance(variants, list) and len(variants) > MOST_SUBSTITUTIONS:
        raise TooManySubstitutions(len(variants), MOST_SUBSTITUTIONS)
    return variants


def _not_too_many_substitutions(variants: list[str], _rules: Rules) -> list[str]:
    count = sum(len(SEPARATORS.findall(variant)) + 1 for variant in variants)
    if count > MOST_SUBSTITUTIONS:
        raise TooManySubstitutions(count, MOST_SUBSTITUTIONS)
    return variants


# Counted before any is looked at; of what is no string the first is told, or each were a fault.
_Described = Annotated[list[str], Field(min_length=1, max_length=MOST_SUBSTITUTIONS)] | str
_Variants = Annotated[
    list[str],
    FailFast(),
    BeforeValidator(ruled(_not_too_many_variants)),
    Field(min_length=1),
    AfterValidator(ruled(_not_too_many_substitutions)),
    BeforeValidator(listed, json_schema_input_type=_Described),
]


class ScoreItem(Labelled):
    """A wild type and variants of it."""

    sequence: Protein = Field(
        description="the wild type, residues in upper case: the 20 natural ones, X B U Z O, '-'"
        " and '.'",
        examples=["MKTAYIAKQR"],
        json_schema_extra={"minLength": 1, "pattern": f"^[{LETTER}]+$"},
    )
    variants: _Variants = Field(
        description="such as A24G, p.Ala24Gly, or several substitutions as A24G:D30N; WT is the"
        " wild type. Each letter before a position must be the one of the sequence there",
        examples=[["A4G", "K2R:Q9E"]],
    )


class ScoreParams(Strict):
    """How to score, for every item."""

    strategy: Strategy = Field(
        default="masked-marginals",
        description="masked-marginals masks each mutated position in a pass of its own;"
        " wt-marginals is one pass; pppl is a pass for each residue of each variant",
    )
    offset: Annotated[int, Field(ge=-FARTHEST, le=FARTHEST), BeforeValidator(whole)] = Field(
        default=0,
        description="what to subtract from a position to get the residue, counted from 1",
    )


class ScanParams(Strict):
    """How to scan, for every item."""

    strategy: ScanStrategy = Field(
        default="masked-marginals",
        description="masked-marginals masks each residue in a pass of its own; wt-marginals is one"
        " pass",
    )


class ScoreBody(Asking):
    """What score is sent."""

    items: Annotated[list[ScoreItem], NotTooMany, Field(min_length=1)]
    params: ScoreParams | None = None


class PllBody(Asking):
    """What pll is sent."""

    items: Items
    params: Any = Field(default=None, description=UNUSED)


class ScanBody(Asking):
    """What scan is sent."""

    items: Items
    params: ScanParams | None = None


def scoring_works(body: ScoreBody, rules: Rules) -> list[Work[Double]]:
    """Their score, checked -> our passes, one work for each item.

    Raises:
        InvalidRequest: variants that do not match their sequence, each at its place.
        TooMuchWork: more passes than could ever wait here.
    """
    params = body.params or ScoreParams()
    faults: dict[str, list[str]] = {}
    works = []
    for number, item in enumerate(body.items):
        named = f"items__{number}__variants__{{}}".format
        try:
            sites = place(item.variants, item.sequence, params.offset, named)
        except InvalidRequest as error:
            whole = f"items__{number}__variants"
            faults |= {
                whole if where == "more" else where: said for where, said in error.faults.items()
            }
        else:
            works.append(scores(item.sequence, sites, params.strategy))
    if faults:
        raise InvalidRequest(faults, InvalidVariant.code)
    return _bounded(works, rules, f"send fewer sequences or variants in a request, {_CHEAPER}")


def pll_works(body: PllBody, rules: Rules) -> list[Work[float]]:
    """Their pll, checked -> our passes, one work for each item.

    Raises:
        TooMuchWork: more passes than could ever wait here.
    """
    return _bounded([pll(item.sequence) for item in body.items], rules, _FEWER)


def scan_works(body: ScanBody, rules: Rules) -> list[Work[Double]]:
    """Their scan, checked -> our passes, one work for each item, read as log p: (L, 33).

    Raises:
        TooMuchWork: more passes than could ever wait here.
    """
    strategy = (body.params or ScanParams()).strategy
    works = [log_probabilities(item.sequence, strategy) for item in body.items]
    return _bounded(works, rules, f"{_FEWER}, {_CHEAPER}")


def _bounded(works: list[Work[Result]], rules: Rules, advice: str) -> list[Work[Result]]:
    tokens_needed, passes = sum(work.tokens for work in works), sum(work.passes for work in works)
    if tokens_needed > rules.settings.queue_tokens:
        raise TooMuchWork(tokens_needed, rules.settings.queue_tokens, "tokens", advice)
    if passes > MOST_PASSES:
        raise TooMuchWork(passes, MOST_PASSES, "forward passes", advice)
    return works
