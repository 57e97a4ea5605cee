"""BioLM's API v2: the dialect of 2023 that founded this project.

    POST /api/v2/{slug}/encode/     POST /api/v2/{slug}/predict/

Their words on the left, ours on the right, nothing else; layers are keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from esm2.alphabet import AMINO_ACIDS
from esm2.server import actions
from esm2.server.dialect import Dialect
from esm2.server.encoding import numbers
from esm2.server.generation import Generation
from esm2.types import Float, OutputName


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


def _layered(_: OutputName, arrays: Mapping[int, Float]) -> object:
    return {str(layer): numbers(array) for layer, array in arrays.items()}


DIALECT = Dialect(
    keys={
        "per_token": "representations",
        "mean": "mean_representations",
        "bos": "bos_representations",
        "contacts": "contacts",
        "logits": "logits",
        "attentions": "attentions",
    },
    layered=_layered,
    columns="alphabet_tokens",
    encode_has_columns=False,
)

V2 = Generation(
    name="BioLM API v2",
    prefix="/api/v2",
    slash=True,
    actions=(
        actions.encode(V2EncodeAnswer, DIALECT),
        actions.predict(V2PredictAnswer, DIALECT),
    ),
)
