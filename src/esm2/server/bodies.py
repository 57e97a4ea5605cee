"""What every generation of the API is sent: the bodies, and how they become our requests.

    {"items": [{"sequence": "MKT"}], "params": {"include": ["mean"], "repr_layers": [-1]}}

The models hold the wire's own words and are checked as they are read (`body.ruled`), so a refusal
names every bad place. Answers differ by generation and live in `v1.py`, `v2.py`, `v3.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from esm2.alphabet import tokenize
from esm2.catalog import Shape
from esm2.errors import TooManyItems
from esm2.server.body import Rules, ruled
from esm2.types import ForwardRequest, Want

Kind = Literal["mean", "per_token", "per_residue", "bos", "contacts", "logits", "attentions"]


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
    return [value] if isinstance(value, str | int) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Item(_Strict):
    """One protein."""

    sequence: Annotated[str, AfterValidator(ruled(_a_protein))] = Field(
        description="residues in upper case: the 20 natural ones, X B U Z O, '-' and '.'; in"
        " predict one or more are `<mask>`",
        examples=["MKTAYIAKQR"],
    )


Kinds = Annotated[list[Kind], BeforeValidator(_listed), Field(min_length=1, max_length=16)]
Layer = Annotated[int, AfterValidator(ruled(_a_layer))]


class Params(_Strict):
    """What to compute, for every item."""

    include: Annotated[Kinds, AfterValidator(ruled(_available))] = Field(
        default=["mean"],
        description="which outputs; `per_residue` is another word for `per_token`",
    )
    repr_layers: Annotated[list[Layer], BeforeValidator(_listed)] = Field(
        default=[-1],
        min_length=1,
        max_length=256,
        description="layers of mean, per_token and bos: 0 (embedding) to N, or -1 (last) to"
        " -(N + 1) from the end",
    )


class UnusedParams(_Strict):
    """Accepted because BioLM's own example sends them with predict; they have no effect."""

    include: Kinds = ["mean"]
    repr_layers: Annotated[list[int], BeforeValidator(_listed)] = [-1]


Items = Annotated[list[Item], BeforeValidator(ruled(_not_too_many)), Field(min_length=1)]


class EncodeBody(_Strict):
    """What encode is sent."""

    items: Items
    params: Params | None = None


class PredictBody(_Strict):
    """What predict is sent."""

    items: Items
    params: UnusedParams | None = None


class LogProbBody(_Strict):
    """What log_prob is sent."""

    items: Items
    params: UnusedParams | None = None


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
