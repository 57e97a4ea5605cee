"""What every generation of the API is sent: the bodies, and how they become our requests.

    {"items": [{"sequence": "MKT"}], "params": {"include": ["mean"], "repr_layers": [-1]}}

The models hold the wire's own words and are checked as they are read (`body.ruled`), so a refusal
names every bad place. Answers differ by generation and live in `v1.py`, `v2.py`, `v3.py`.

Their JSON schemas say what the checks check: `limited` fills in what depends on a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from esm2.alphabet import TOKENS, tokenize
from esm2.catalog import Shape
from esm2.errors import TooManyItems
from esm2.server.body import Rules, ruled
from esm2.settings import Settings
from esm2.types import Decided, ForwardRequest, Want


def _a_protein(sequence: str, rules: Rules) -> str:
    tokenize(sequence, masks=rules.masks, max_residues=rules.settings.max_residues)
    return sequence


def _not_too_many(items: object, rules: Rules) -> object:
    if isinstance(items, list) and len(items) > rules.settings.max_items:
        raise TooManyItems(len(items), rules.settings.max_items)
    return items


def _available(kinds: list[Kind], rules: Rules) -> list[Kind]:
    rules.service.check(Want(contacts="contacts" in kinds))
    return kinds


def _a_layer(index: int, rules: Rules) -> int:
    rules.service.decided.shape.layer(index)
    return index


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
_Protein = Annotated[str, AfterValidator(ruled(_a_protein))]


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


Kind = Literal["mean", "per_token", "per_residue", "bos", "contacts", "logits", "attentions"]
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
        description="layers of mean, per_token and bos: 0 (embedding) to N, or -1 (last) to"
        " -(N + 1) from the end",
    )


class UnusedParams(_Strict):
    """Accepted because BioLM's own example sends them with predict; they have no effect."""

    include: Kinds = ["mean"]
    repr_layers: Annotated[
        list[float], BeforeValidator(_listed, json_schema_input_type=list[float] | float)
    ] = [-1]


_NotTooMany = BeforeValidator(ruled(_not_too_many))
Items = Annotated[list[Item], _NotTooMany, Field(min_length=1)]
MaskedItems = Annotated[list[MaskedItem], _NotTooMany, Field(min_length=1)]


class EncodeBody(_Strict):
    """What encode is sent."""

    items: Items
    params: Params | None = None


class PredictBody(_Strict):
    """What predict is sent."""

    items: MaskedItems
    params: UnusedParams | None = None


class LogProbBody(_Strict):
    """What log_prob is sent."""

    items: Items
    params: UnusedParams | None = None


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
    if "Item" in schemas:
        schemas["Item"]["properties"]["sequence"]["maxLength"] = longest
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
        if not any(model.contacts for model in models):
            for kind in _listed_and_bare(fields["include"]):
                kind["enum"].remove("contacts")
    return schemas


def _listed_and_bare(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of a value in a list and without one, of a field that takes both."""
    in_list, bare = field["anyOf"]
    return [in_list["items"], bare]


def encode_requests(body: EncodeBody, shape: Shape) -> list[ForwardRequest]:
    """Their encode, checked -> our requests."""
    params = body.params or Params()
    layers = tuple(sorted({shape.layer(index) for index in params.repr_layers}))
    kinds = ("per_token" if kind == "per_residue" else kind for kind in params.include)
    want = Want(layers=layers, **dict.fromkeys(kinds, True))
    return [ForwardRequest(tokenize(item.sequence), want) for item in body.items]


def logits_requests(body: PredictBody | LogProbBody, _shape: Shape) -> list[ForwardRequest]:
    """Their predict or log_prob, checked -> our requests."""
    return [ForwardRequest(tokenize(item.sequence), Want(logits=True)) for item in body.items]
