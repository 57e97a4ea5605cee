"""What v1 and v3 share: a layer is a field beside its embedding, and logits come with columns."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from esm2.server.encoding import numbers
from esm2.types import Float, OutputName


class LayerEmbedding(BaseModel):
    """One vector of one layer."""

    layer: int
    embedding: list[float] = Field(description="D")


class LayerEmbeddings(BaseModel):
    """One vector for each residue, of one layer."""

    layer: int
    embeddings: list[list[float]] = Field(description="L x D")


class PredictResult(BaseModel):
    """The logits of one item."""

    logits: list[list[float]] = Field(description="raw, L x 20")
    sequence_tokens: list[str] = Field(description="the residues, masks as `<mask>`")
    vocab_tokens: list[str] = Field(description="the columns of logits")


class PredictAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[PredictResult]


def layered(kind: OutputName, arrays: Mapping[int, Float]) -> object:
    """Each layer with its array beside it."""
    name = "embeddings" if kind == "per_token" else "embedding"
    return [{"layer": layer, name: numbers(array)} for layer, array in arrays.items()]
