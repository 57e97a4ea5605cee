"""The API v1 of BioLM's open gateway (biolm-hub).

    POST /api/v1/{slug}/encode     /predict     /log_prob

As v3, but embeddings of residues have another name and refusals another form (`errors.py`).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from esm2.server import actions
from esm2.server.encoding import numbers
from esm2.server.generation import Generation
from esm2.server.v3 import (
    LayerEmbedding,
    LayerEmbeddings,
    V3PredictAnswer,
    by_layer,
    logits_fields,
    predict_answer,
)
from esm2.types import ForwardRequest, Outputs


class V1EncodeResult(BaseModel):
    """The outputs of one item; only those that were asked for are there."""

    sequence_index: int
    embeddings: list[LayerEmbedding] | None = Field(None, description="mean over the residues")
    bos_embeddings: list[LayerEmbedding] | None = None
    residue_embeddings: list[LayerEmbeddings] | None = Field(
        None, description="asked for as `per_residue` or `per_token`"
    )
    contacts: list[list[float]] | None = Field(None, description="probabilities, L x L")
    attentions: list[list[float]] | None = Field(None, description="N x L")
    logits: list[list[float]] | None = Field(None, description="raw, L x 20")
    vocab_tokens: list[str] | None = Field(None, description="the columns of logits")


class V1EncodeAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[V1EncodeResult]


def encode_answer(_: list[ForwardRequest], results: list[Outputs]) -> dict[str, Any]:
    """Our outputs -> their encode."""
    return {"results": [_encode_result(index, own) for index, own in enumerate(results)]}


def _encode_result(index: int, own: Outputs) -> dict[str, Any]:
    fields = {
        "embeddings": by_layer(own.mean, "embedding"),
        "bos_embeddings": by_layer(own.bos, "embedding"),
        "residue_embeddings": by_layer(own.per_token, "embeddings"),
        "contacts": None if own.contacts is None else numbers(own.contacts),
        "attentions": None if own.attentions is None else numbers(own.attentions),
        **logits_fields(own.logits),
    }
    return {"sequence_index": index} | {name: value for name, value in fields.items() if value}


V1 = Generation(
    name="BioLM hub API v1",
    prefix="/api/v1",
    slash=False,
    actions=(
        actions.encode(V1EncodeAnswer, encode_answer),
        actions.predict(V3PredictAnswer, predict_answer),
        actions.LOG_PROB,
    ),
)
