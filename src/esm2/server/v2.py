"""BioLM's API v2: the dialect that founded this project.

    POST /api/v2/{slug}/encode/     POST /api/v2/{slug}/predict/      with or without the last slash

Bodies, mappings and routes; their words on the left, ours on the right, nothing else. Evidence for
every name, order and default: docs/http-api.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from esm2.alphabet import AMINO_ACID_COLUMNS, AMINO_ACIDS, letters, tokenize
from esm2.catalog import Shape
from esm2.errors import TooManyItems
from esm2.runtime import Runtime
from esm2.server.body import Rules, read_body, ruled
from esm2.server.encoding import json_response, numbers
from esm2.server.openapi import takes
from esm2.server.presence import while_present
from esm2.types import Float, ForwardRequest, Outputs, Want

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


class Params(_Strict):
    """What to compute, for every item."""

    include: Annotated[list[Kind], BeforeValidator(_listed), AfterValidator(ruled(_available))] = (
        Field(
            default=["mean"],
            min_length=1,
            max_length=16,
            description="which outputs; `per_residue` is another word for `per_token`",
        )
    )
    repr_layers: Annotated[
        list[Annotated[int, AfterValidator(ruled(_a_layer))]], BeforeValidator(_listed)
    ] = Field(
        default=[-1],
        min_length=1,
        max_length=256,
        description="layers of mean, per_token and bos: 0 (embedding) to N, or -1 (last) to"
        " -(N + 1) from the end",
    )


Items = Annotated[list[Item], BeforeValidator(ruled(_not_too_many)), Field(min_length=1)]


class EncodeBody(_Strict):
    """What encode is sent."""

    items: Items
    params: Params | None = None


class PredictBody(_Strict):
    """What predict is sent."""

    items: Items
    params: Params | None = Field(
        default=None, description="accepted, because BioLM's own example sends it; has no effect"
    )


class EncodeResult(BaseModel):
    """The outputs of one item; only those that were asked for are there, in this order."""

    sequence_index: int
    representations: dict[str, list[list[float]]] | None = Field(
        None, description="per_token: layer -> L x D"
    )
    mean_representations: dict[str, list[float]] | None = Field(
        None, description="mean over the residues: layer -> D"
    )
    bos_representations: dict[str, list[float]] | None = Field(
        None, description="the BOS token: layer -> D; trained without supervision"
    )
    contacts: list[list[float]] | None = Field(None, description="probabilities, L x L")
    logits: list[list[float]] | None = Field(
        None, description=f"raw, L x 20; columns {''.join(AMINO_ACIDS)}"
    )
    attentions: list[list[float]] | None = Field(
        None, description="N x L: mean over heads and over the L + 2 query tokens"
    )


class EncodeAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[EncodeResult]


class PredictResult(BaseModel):
    """The logits of one item."""

    logits: list[list[float]] = Field(description="raw, L x 20")
    sequence_tokens: list[str] = Field(description="the residues, masks as `<mask>`")
    alphabet_tokens: list[str] = Field(description="the columns of logits")


class PredictAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[PredictResult]


def encode_requests(body: EncodeBody, shape: Shape) -> list[ForwardRequest]:
    """Their encode, checked -> our requests."""
    params = body.params or Params()
    layers = tuple(sorted({shape.layer(index) for index in params.repr_layers}))
    kinds = ("per_token" if kind == "per_residue" else kind for kind in params.include)
    want = Want(layers=layers, **dict.fromkeys(kinds, True))
    return [ForwardRequest(tokenize(item.sequence), want) for item in body.items]


def predict_requests(body: PredictBody) -> list[ForwardRequest]:
    """Their predict, checked -> our requests."""
    return [ForwardRequest(tokenize(item.sequence), Want(logits=True)) for item in body.items]


def encode_answer(results: list[Outputs]) -> dict[str, Any]:
    """Our outputs -> their encode, keys in the recorded order."""
    return {"results": [_encode_result(index, own) for index, own in enumerate(results)]}


def _encode_result(index: int, own: Outputs) -> dict[str, Any]:
    fields = {
        "representations": _by_layer(own.per_token),
        "mean_representations": _by_layer(own.mean),
        "bos_representations": _by_layer(own.bos),
        "contacts": None if own.contacts is None else numbers(own.contacts),
        "logits": None if own.logits is None else _twenty(own.logits),
        "attentions": None if own.attentions is None else numbers(own.attentions),
    }
    return {"sequence_index": index} | {name: value for name, value in fields.items() if value}


def _by_layer(arrays: dict[int, Float]) -> dict[str, object]:
    return {str(layer): numbers(array) for layer, array in sorted(arrays.items())}


def _twenty(logits: Float) -> object:
    return numbers(logits[:, AMINO_ACID_COLUMNS])


def predict_answer(requests: list[ForwardRequest], results: list[Outputs]) -> dict[str, Any]:
    """Our outputs -> their predict."""
    return {
        "results": [
            {
                "logits": _twenty(own.logits),
                "sequence_tokens": letters(request.tokens),
                "alphabet_tokens": list(AMINO_ACIDS),
            }
            for request, own in zip(requests, results, strict=True)
            if own.logits is not None
        ]
    }


_ENCODE_EXAMPLE = {"items": [{"sequence": "MKTAYIAKQR"}], "params": {"include": ["mean"]}}
_PREDICT_EXAMPLE = {"items": [{"sequence": "MKT<mask>YIAKQR"}]}


def routes(runtime: Runtime) -> APIRouter:
    """The routes of this generation."""
    router = APIRouter(prefix="/api/v2/{slug}", tags=["BioLM API v2"])
    settings = runtime.settings

    async def encode(slug: str, request: Request) -> Response:
        """Embeddings, contacts, logits and attentions of proteins."""
        service = runtime.service(slug)
        body = await read_body(request, EncodeBody, Rules(service, settings, masks="none"))
        requests = encode_requests(body, service.decided.shape)
        return json_response(encode_answer(await while_present(request, service.run(requests))))

    async def predict(slug: str, request: Request) -> Response:
        """Logits of proteins in which one residue or more is `<mask>`."""
        service = runtime.service(slug)
        body = await read_body(request, PredictBody, Rules(service, settings, masks="some"))
        requests = predict_requests(body)
        results = await while_present(request, service.run(requests))
        return json_response(predict_answer(requests, results))

    # Both spellings are served, never redirected: a redirect would eat the body of a POST.
    for path, handler, sent, example, answered in (
        ("/encode", encode, EncodeBody, _ENCODE_EXAMPLE, EncodeAnswer),
        ("/predict", predict, PredictBody, _PREDICT_EXAMPLE, PredictAnswer),
    ):
        described: dict[str, Any] = {
            "responses": {200: {"model": answered}},
            "openapi_extra": takes(sent, example),
        }
        router.post(f"{path}/", **described)(handler)
        router.post(path, include_in_schema=False)(handler)
    return router
