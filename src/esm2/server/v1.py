"""The API v1 of BioLM's open gateway (biolm-hub).

    POST /api/v1/{slug}/encode     /predict     /log_prob

As v3, but embeddings of residues have another name and refusals another form (`errors.py`).
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from esm2.server import actions
from esm2.server.dialect import Dialect
from esm2.server.generation import Generation
from esm2.server.layered import LayerEmbedding, LayerEmbeddings, PredictAnswer, layered


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


DIALECT = Dialect(
    keys={
        "mean": "embeddings",
        "bos": "bos_embeddings",
        "per_token": "residue_embeddings",
        "contacts": "contacts",
        "attentions": "attentions",
        "logits": "logits",
    },
    layered=layered,
    columns="vocab_tokens",
    encode_has_columns=True,
)

V1 = Generation(
    name="BioLM hub API v1",
    prefix="/api/v1",
    slash=False,
    actions=(
        actions.encode(V1EncodeAnswer, DIALECT),
        actions.predict(PredictAnswer, DIALECT),
        actions.LOG_PROB,
    ),
)
