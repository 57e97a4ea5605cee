"""What every generation of the API is sent: the bodies, and how they become our requests.

    {"items": [{"sequence": "MKT"}], "params": {"include": ["mean"], "repr_layers": [-1]}}

The models hold the wire's own words and are checked as they are read (`body.ruled`), so a refusal
names every bad place. Answers differ by generation and live in `v1.py`, `v2.py`, `v3.py`; what
scoring is sent is in `score_bodies.py`.

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
    Field,
    PlainValidator,
)
from pydantic_core import PydanticCustomError

from esm2.alphabet import TOKENS, first_mask, letters, tokenize
from esm2.errors import (
    MaskMissing,
    MaskNotAllowed,
    RequestError,
    TooManyItems,
)
from esm2.oddities import WHY, oddity
from esm2.server.body import Rules, ruled
from esm2.settings import Settings
from esm2.types import Decided, ForwardRequest, OutputName, Want

Tokens = NDArray[np.uint8]

# Of one kind, that are named.
_MOST_DOUBTS = 20


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


def listed(value: object) -> object:
    """R's auto_unbox makes a bare value out of a vector of one."""
    return [value] if isinstance(value, str | int | float) else value


def whole(number: object) -> object:
    """JSON has one kind of number: 1.0 is 1. Above 2**53 a float is no longer that very number."""
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        return int(number)
    return number


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# It ends with "-", which a pattern takes for itself there and nowhere else.
LETTER = "".join(token for token in TOKENS if len(token) == 1)
_RESIDUE = f"(?:[{LETTER}]|<mask>)"
Protein = Annotated[Tokens, PlainValidator(ruled(_protein), json_schema_input_type=str)]


class Labelled(Strict):
    """What BioLM's SDKs send beside a sequence that they read from a FASTA file."""

    id: Any = Field(default=None, description="accepted, has no effect: results are in order")
    metadata: Any = Field(default=None, description="accepted, has no effect")


class Item(Labelled):
    """One protein."""

    sequence: Protein = Field(
        description="residues in upper case: the 20 natural ones, X B U Z O, '-' and '.'",
        examples=["MKTAYIAKQR"],
        json_schema_extra={"minLength": 1, "pattern": f"^[{LETTER}]+$"},
    )


class MaskedItem(Labelled):
    """One protein with a mask or more."""

    sequence: Protein = Field(
        description="residues in upper case: the 20 natural ones, X B U Z O, '-' and '.'; one or"
        " more are `<mask>`, which counts as one",
        examples=["MKT<mask>YIAKQR"],
        json_schema_extra={"pattern": f"^[{LETTER}]*<mask>{_RESIDUE}*$"},
    )


Kind = Literal[OutputName, "per_residue"]
Layer = Annotated[int, BeforeValidator(whole), AfterValidator(ruled(_a_layer))]
_Kinds = Annotated[list[Kind], Field(min_length=1, max_length=16)]
_Layers = Annotated[list[Layer], Field(min_length=1, max_length=256)]
Kinds = Annotated[_Kinds, BeforeValidator(listed, json_schema_input_type=_Kinds | Kind)]
Layers = Annotated[_Layers, BeforeValidator(listed, json_schema_input_type=_Layers | Layer)]


class Params(Strict):
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
UNUSED = "accepted, whatever they are; they have no effect"

NotTooMany = BeforeValidator(ruled(_not_too_many))
Items = Annotated[list[Item], NotTooMany, Field(min_length=1)]
MaskedItems = Annotated[list[MaskedItem], NotTooMany, Field(min_length=1)]


class Asking(Strict):
    """What any action is sent."""

    items: Sequence[Any]


class EncodeBody(Asking):
    """What encode is sent."""

    items: Items
    params: Params | None = None


class PredictBody(Asking):
    """What predict is sent."""

    items: MaskedItems
    params: Any = Field(default=None, description=UNUSED)


class LogProbBody(Asking):
    """What log_prob is sent."""

    items: Items
    params: Any = Field(default=None, description=UNUSED)


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
    want = Want.of(params.include, layers)
    return [ForwardRequest(item.sequence, want) for item in body.items]


def logits_requests(body: PredictBody | LogProbBody, _: Rules) -> list[ForwardRequest]:
    """Their predict or log_prob, checked -> our requests."""
    return [ForwardRequest(item.sequence, Want(logits=True)) for item in body.items]
