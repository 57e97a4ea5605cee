"""BioLM's API v2: the dialect of 2023 that founded this project.

    POST /api/v2/{slug}/encode/     POST /api/v2/{slug}/predict/

Their words on the left, ours on the right, nothing else; layers are keys.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from esm2.alphabet import AMINO_ACIDS, letters
from esm2.server import actions
from esm2.server.encoding import numbers, twenty
from esm2.server.generation import Generation
from esm2.types import Float, ForwardRequest, Outputs


class V2EncodeResult(BaseModel):
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


class V2EncodeAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[V2EncodeResult]


class V2PredictResult(BaseModel):
    """The logits of one item."""

    logits: list[list[float]] = Field(description="raw, L x 20")
    sequence_tokens: list[str] = Field(description="the residues, masks as `<mask>`")
    alphabet_tokens: list[str] = Field(description="the columns of logits")


class V2PredictAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[V2PredictResult]


def encode_answer(_: list[ForwardRequest], results: list[Outputs]) -> dict[str, Any]:
    """Our outputs -> their encode, keys in the recorded order."""
    return {"results": [_encode_result(index, own) for index, own in enumerate(results)]}


def _encode_result(index: int, own: Outputs) -> dict[str, Any]:
    fields = {
        "representations": _by_layer(own.per_token),
        "mean_representations": _by_layer(own.mean),
        "bos_representations": _by_layer(own.bos),
        "contacts": None if own.contacts is None else numbers(own.contacts),
        "logits": None if own.logits is None else numbers(twenty(own.logits)),
        "attentions": None if own.attentions is None else numbers(own.attentions),
    }
    return {"sequence_index": index} | {name: value for name, value in fields.items() if value}


def _by_layer(arrays: dict[int, Float]) -> dict[str, object]:
    return {str(layer): numbers(array) for layer, array in sorted(arrays.items())}


def predict_answer(requests: list[ForwardRequest], results: list[Outputs]) -> dict[str, Any]:
    """Our outputs -> their predict."""
    return {
        "results": [
            {
                "logits": numbers(twenty(own.logits)),
                "sequence_tokens": letters(request.tokens),
                "alphabet_tokens": list(AMINO_ACIDS),
            }
            for request, own in zip(requests, results, strict=True)
            if own.logits is not None
        ]
    }


V2 = Generation(
    name="BioLM API v2",
    prefix="/api/v2",
    slash=True,
    actions=(
        actions.encode(V2EncodeAnswer, encode_answer),
        actions.predict(V2PredictAnswer, predict_answer),
    ),
)
