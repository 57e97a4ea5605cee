"""BioLM's API v3: the dialect of today's hosted service.

    POST /api/v3/{slug}/encode/     /predict/     /log_prob/     /score/     /scan/     /pll/

As v2, but a layer is a field beside its embedding, and logits come with their columns.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from esm2.server import actions, scores
from esm2.server.dialect import Dialect
from esm2.server.generation import Generation
from esm2.server.layered import LayerEmbedding, LayerEmbeddings, PredictAnswer, layered


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


DIALECT = Dialect(
    keys={
        "mean": "embeddings",
        "bos": "bos_embeddings",
        "per_token": "per_token_embeddings",
        "contacts": "contacts",
        "logits": "logits",
        "attentions": "attentions",
    },
    layered=layered,
    columns="vocab_tokens",
    encode_has_columns=True,
)

V3 = Generation(
    name="BioLM API v3",
    prefix="/api/v3",
    slash=True,
    actions=(
        actions.encode(V3EncodeAnswer, DIALECT),
        actions.predict(PredictAnswer, DIALECT),
        actions.LOG_PROB,
        scores.SCORE,
        scores.SCAN,
        scores.PLL,
    ),
)
