"""What every generation of the API is sent: the bodies, and how they become our requests.

    {"items": [{"sequence": "MKT"}], "params": {"include": ["mean"], "repr_layers": [-1]}}

The models hold the wire's own words and are checked as they are read (`body.ruled`), so a refusal
names every bad place. Answers differ by generation and live in `v1.py`, `v2.py`, `v3.py`.

Their JSON schemas say what the checks check: `limited` fills in what depends on a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
)
from pydantic_core import PydanticCustomError

from esm2.alphabet import TOKENS, first_mask, letters, tokenize
from esm2.errors import (
    InvalidRequest,
    InvalidVariant,
    MaskMissing,
    MaskNotAllowed,
    RequestError,
    TooManyItems,
    TooManySubstitutions,
    TooMuchWork,
)
from esm2.oddities import WHY, oddity
from esm2.science.marginals import Strategy, Work, scores
from esm2.science.scoring import Double
from esm2.science.variants import SEPARATORS, place
from esm2.server.body import Rules, ruled
from esm2.settings import MOST_SUBSTITUTIONS, Settings
from esm2.types import Decided, ForwardRequest, OutputName, Want

Tokens = NDArray[np.uint8]

# Of one kind, that are named.
_MOST_DOUBTS = 20

#: Of one request to score, each a future in the batcher.
MOST_PASSES = 20_000


def _protein(sequence: object, rules: Rules) -> Tokens:
    if not isinstance(sequence, str):
        raise PydanticCustomError("string_type", "must be a string")
    tokens = tokenize(sequence, max_residues=rules.settings.max_residues)
    mask = first_mask(tokens)
    if rules.masks == "none" and mask is not None:
        raise MaskNotAllowed(mask, rules.action)
    if rules.masks == "some" and mask is None:
        raise MaskMissing
    return tokens


def _not_too_many(items: object, rules: Rules) -> object:
    if isinstance(items, list) and len(items) > rules.settings.max_items:
        raise TooManyItems(len(items), rules.settings.max_items)
    return items


def _available(kinds: list[Kind], rules: Rules) -> list[OutputName]:
    ours: list[OutputName] = ["per_token" if kind == "per_residue" else kind for kind in kinds]
    foreign = [kind for kind in ours if kind not in rules.kinds]
    if foreign:
        raise RequestError(f"{foreign[0]} is not in this API, which has {', '.join(rules.kinds)}")
    rules.service.check(Want(contacts="contacts" in ours, logits="logits" in ours))
    return ours


def _a_layer(index: int, rules: Rules) -> int:
    return rules.service.decided.shape.layer(index)


def _listed(value: object) -> object:
    """R's auto_unbox makes a bare value out of a vector of one."""
    return [value] if isinstance(value, str | int | float) else value


def _whole(number: object) -> object:
    """JSON has one kind of number: 1.0 is 1. Above 2**53 a float is no longer that very number."""
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        return int(number)
    return number


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# It ends with "-", which a pattern takes for itself there and nowhere else.
_LETTER = "".join(token for token in TOKENS if len(token) == 1)
_RESIDUE = f"(?:[{_LETTER}]|<mask>)"
_Protein = Annotated[Tokens, PlainValidator(ruled(_protein), json_schema_input_type=str)]


class _Labelled(_Strict):
    """What BioLM's SDKs send beside a sequence that they read from a FASTA file."""

    id: Any = Field(default=None, description="accepted, has no effect: results are in order")
    metadata: Any = Field(default=None, description="accepted, has no effect")


class Item(_Labelled):
    """One protein."""

    sequence: _Protein = Field(
        description="residues in upper case: the 20 natural ones, X B U Z O, '-' and '.'",
        examples=["MKTAYIAKQR"],
        json_schema_extra={"minLength": 1, "pattern": f"^[{_LETTER}]+$"},
    )


class MaskedItem(_Labelled):
    """One protein with a mask or more."""

    sequence: _Protein = Field(
        description="residues in upper case: the 20 natural ones, X B U Z O, '-' and '.'; one or"
        " more are `<mask>`, which counts as one",
        examples=["MKT<mask>YIAKQR"],
        json_schema_extra={"pattern": f"^[{_LETTER}]*<mask>{_RESIDUE}*$"},
    )


Kind = Literal[OutputName, "per_residue"]
Layer = Annotated[int, BeforeValidator(_whole), AfterValidator(ruled(_a_layer))]
_Kinds = Annotated[list[Kind], Field(min_length=1, max_length=16)]
_Layers = Annotated[list[Layer], Field(min_length=1, max_length=256)]
Kinds = Annotated[_Kinds, BeforeValidator(_listed, json_schema_input_type=_Kinds | Kind)]
Layers = Annotated[_Layers, BeforeValidator(_listed, json_schema_input_type=_Layers | Layer)]


class Params(_Strict):
    """What to compute, for every item."""

    include: Annotated[Kinds, AfterValidator(ruled(_available))] = Field(
        default=["mean"],
        description="which outputs; `per_residue` is another word for `per_token`",
    )
    repr_layers: Layers = Field(
        default=[-1],
        validate_default=True,
        description="layers of mean, per_token and bos: 0 (embedding) to N, or -1 (last) to"
        " -(N + 1) from the end",
    )


#: Of predict, because BioLM's own example sends those of encode with it, and of log_prob.
_UNUSED = "accepted, whatever they are; they have no effect"

_NotTooMany = BeforeValidator(ruled(_not_too_many))
Items = Annotated[list[Item], _NotTooMany, Field(min_length=1)]
MaskedItems = Annotated[list[MaskedItem], _NotTooMany, Field(min_length=1)]


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
_Variants = Annotated[
    list[str],
    FailFast(),
    BeforeValidator(ruled(_not_too_many_variants)),
    Field(min_length=1, json_schema_extra={"maxItems": MOST_SUBSTITUTIONS}),
    AfterValidator(ruled(_not_too_many_substitutions)),
]


class ScoreItem(_Labelled):
    """A wild type and variants of it."""

    sequence: _Protein = Field(
        description="the wild type, residues in upper case: the 20 natural ones, X B U Z O, '-'"
        " and '.'",
        examples=["MKTAYIAKQR"],
        json_schema_extra={"minLength": 1, "pattern": f"^[{_LETTER}]+$"},
    )
    variants: _Variants = Field(
        description="such as A24G, p.Ala24Gly, or several substitutions as A24G:D30N; WT is the"
        " wild type. Each letter before a position must be the one of the sequence there",
        examples=[["A4G", "K2R:Q9E"]],
    )


class ScoreParams(_Strict):
    """How to score, for every item."""

    strategy: Strategy = Field(
        default="masked-marginals",
        description="masked-marginals masks each mutated position in a pass of its own;"
        " wt-marginals is one pass; pppl is a pass for each residue of each variant",
    )
    offset: Annotated[int, Field(ge=-(10**9), le=10**9), BeforeValidator(_whole)] = Field(
        default=0,
        description="what to subtract from a position to get the residue, counted from 1",
    )


class Asking(_Strict):
    """What any action is sent."""

    items: Sequence[Any]


class ScoreBody(Asking):
    """What score is sent."""

    items: Annotated[list[ScoreItem], _NotTooMany, Field(min_length=1)]
    params: ScoreParams | None = None


class EncodeBody(Asking):
    """What encode is sent."""

    items: Items
    params: Params | None = None


class PredictBody(Asking):
    """What predict is sent."""

    items: MaskedItems
    params: Any = Field(default=None, description=_UNUSED)


class LogProbBody(Asking):
    """What log_prob is sent."""

    items: Items
    params: Any = Field(default=None, description=_UNUSED)


def limited(
    schemas: dict[str, Any], settings: Settings, models: Sequence[Decided]
) -> dict[str, Any]:
    """Fill what a server's settings and models allow into the schemas of bodies.

    Args:
        schemas: name -> JSON schema; changed in place.
        models: those that may be asked. JSON Schema cannot say that a limit depends on the
            address, so of several the deepest counts, and a head that one of them has.

    Returns:
        the same schemas.
    """
    for schema in schemas.values():
        if "items" in schema.get("properties", {}):
            schema["properties"]["items"]["maxItems"] = settings.max_items
    longest = settings.max_residues
    for item in ("Item", "ScoreItem"):
        if item in schemas:
            schemas[item]["properties"]["sequence"]["maxLength"] = longest
    if "MaskedItem" in schemas:
        # Characters, as JSON Schema counts them; the first pattern counts residues.
        sequence = schemas["MaskedItem"]["properties"]["sequence"]
        sequence["maxLength"] = longest * len("<mask>")
        sequence["allOf"] = [{"pattern": f"^{_RESIDUE}{{1,{longest}}}$"}]
    if "Params" in schemas:
        fields = schemas["Params"]["properties"]
        deepest = max(model.shape.layers for model in models)
        for layer in _listed_and_bare(fields["repr_layers"]):
            layer |= {"minimum": -(deepest + 1), "maximum": deepest}
        for head in ("contacts", "logits"):
            if not any(getattr(model, head) for model in models):
                for kind in _listed_and_bare(fields["include"]):
                    kind["enum"].remove(head)
    return schemas


def _listed_and_bare(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of a value in a list and without one, of a field that takes both."""
    in_list, bare = field["anyOf"]
    return [in_list["items"], bare]


def doubts(sequences: Sequence[Tokens]) -> str:
    """What has to be said of sequences that are hardly proteins; empty where nothing has."""
    found: dict[str, list[str]] = {}
    for number, tokens in enumerate(sequences):
        if odd := oddity("".join(letters(tokens))):
            found.setdefault(WHY[odd], []).append(f"{number}")
    return "; ".join(f"items {', '.join(_first(own))}: {why}" for why, own in found.items())


def _first(numbers: list[str]) -> list[str]:
    """A header holds only so much."""
    more = len(numbers) - _MOST_DOUBTS
    return numbers if more <= 0 else [*numbers[:_MOST_DOUBTS], f"and {more} more"]


def encode_requests(body: EncodeBody, rules: Rules) -> list[ForwardRequest]:
    """Their encode, checked -> our requests."""
    params = body.params or Params.model_validate({}, context=rules)
    layers = tuple(sorted(set(params.repr_layers)))
    want = Want(layers=layers, **dict.fromkeys(params.include, True))
    return [ForwardRequest(item.sequence, want) for item in body.items]


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
    tokens_needed, passes = sum(work.tokens for work in works), sum(work.passes for work in works)
    if tokens_needed > rules.settings.queue_tokens:
        raise TooMuchWork(tokens_needed, rules.settings.queue_tokens, "tokens")
    if passes > MOST_PASSES:
        raise TooMuchWork(passes, MOST_PASSES, "forward passes")
    return works


def logits_requests(body: PredictBody | LogProbBody, _: Rules) -> list[ForwardRequest]:
    """Their predict or log_prob, checked -> our requests."""
    return [ForwardRequest(item.sequence, Want(logits=True)) for item in body.items]
