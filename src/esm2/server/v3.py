"""BioLM's API v3: the dialect of today's hosted service.

    POST /api/v3/{slug}/encode/     /predict/     /log_prob/     /score/

As v2, but a layer is a field beside its embedding, and logits come with their columns.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from esm2.alphabet import AMINO_ACIDS, letters
from esm2.server import actions
from esm2.server.encoding import numbers, twenty
from esm2.server.generation import Generation
from esm2.types import Float, ForwardRequest, Outputs


class LayerEmbedding(BaseModel):
    """One vector of one layer."""

    layer: int
    embedding: list[float] = Field(description="D")


class LayerEmbeddings(BaseModel):
    """One vector for each residue, of one layer."""

    layer: int
    embeddings: list[list[float]] = Field(description="L x D")


class V3EncodeResult(BaseModel):
    """The outputs of one item; only those that were asked for are there, in this order."""

    sequence_index: int
    embeddings: list[LayerEmbedding] | None = Field(None, description="mean over the residues")
    bos_embeddings: list[LayerEmbedding] | None = Field(
        None, description="the BOS token; trained without supervision"
    )
    per_token_embeddings: list[LayerEmbeddings] | None = None
    contacts: list[list[float]] | None = Field(None, description="probabilities, L x L")
    logits: list[list[float]] | None = Field(None, description="raw, L x 20")
    vocab_tokens: list[str] | None = Field(None, description="the columns of logits")
    attentions: list[list[float]] | None = Field(
        None, description="N x L: mean over heads and over the L + 2 query tokens"
    )


class V3EncodeAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[V3EncodeResult]


class V3PredictResult(BaseModel):
    """The logits of one item."""

    logits: list[list[float]] = Field(description="raw, L x 20")
    sequence_tokens: list[str] = Field(description="the residues, masks as `<mask>`")
    vocab_tokens: list[str] = Field(description="the columns of logits")


class V3PredictAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[V3PredictResult]


def by_layer(arrays: dict[int, Float], name: str) -> list[dict[str, object]]:
    """Layers in ascending order, each with its array under `name`."""
    return [{"layer": n, name: numbers(array)} for n, array in sorted(arrays.items())]


def logits_fields(logits: Float | None) -> dict[str, object]:
    """Logits and their columns; nothing where there are none."""
    if logits is None:
        return {}
    return {"logits": numbers(twenty(logits)), "vocab_tokens": list(AMINO_ACIDS)}


def encode_answer(_: list[ForwardRequest], results: list[Outputs]) -> dict[str, Any]:
    """Our outputs -> their encode, keys in the recorded order."""
    return {"results": [_encode_result(index, own) for index, own in enumerate(results)]}


def _encode_result(index: int, own: Outputs) -> dict[str, Any]:
    fields = {
        "embeddings": by_layer(own.mean, "embedding"),
        "bos_embeddings": by_layer(own.bos, "embedding"),
        "per_token_embeddings": by_layer(own.per_token, "embeddings"),
        "contacts": None if own.contacts is None else numbers(own.contacts),
        **logits_fields(own.logits),
        "attentions": None if own.attentions is None else numbers(own.attentions),
    }
    return {"sequence_index": index} | {name: value for name, value in fields.items() if value}


def predict_answer(requests: list[ForwardRequest], results: list[Outputs]) -> dict[str, Any]:
    """Our outputs -> their predict."""
    return {
        "results": [
            {
                "logits": numbers(twenty(own.logits)),
                "sequence_tokens": letters(request.tokens),
                "vocab_tokens": list(AMINO_ACIDS),
            }
            for request, own in zip(requests, results, strict=True)
            if own.logits is not None
        ]
    }


V3 = Generation(
    name="BioLM API v3",
    prefix="/api/v3",
    slash=True,
    actions=(
        actions.encode(V3EncodeAnswer, encode_answer),
        actions.predict(V3PredictAnswer, predict_answer),
        actions.LOG_PROB,
        actions.SCORE,
    ),
)
