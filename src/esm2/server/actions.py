"""The actions, each with what is the same in every generation; only some answers differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from esm2.science.scoring import log_prob
from esm2.server.bodies import (
    EncodeBody,
    LogProbBody,
    PredictBody,
    encode_requests,
    logits_requests,
)
from esm2.server.body import Rules
from esm2.server.dialect import Dialect
from esm2.server.encoding import named_arrays
from esm2.server.generation import Action, Asked
from esm2.types import Float, ForwardRequest, Outputs

Answer = Callable[[list[ForwardRequest], list[Outputs]], dict[str, Any]]
Arrays = Callable[[list[ForwardRequest], list[Outputs]], dict[str, Float]]


def _asking(
    requests: Callable[[Any, Rules], list[ForwardRequest]], answer: Answer, arrays: Arrays
) -> Callable[[Any, Rules], Asked]:
    """A question of one pass for each item."""

    def asked(body: Any, rules: Rules) -> Asked:
        passes = requests(body, rules)
        return Asked(passes, partial(answer, passes), partial(arrays, passes))

    return asked


def encode(gives: type[BaseModel], dialect: Dialect) -> Action:
    """Embeddings, contacts, logits and attentions, in one generation's words."""
    return Action(
        name="encode",
        summary="Embeddings, contacts, logits and attentions of proteins",
        takes=EncodeBody,
        example={"items": [{"sequence": "MKTAYIAKQR"}], "params": {"include": ["mean"]}},
        masks="none",
        gives=gives,
        asked=_asking(
            encode_requests, dialect.encode_answer, lambda _, outputs: named_arrays(outputs)
        ),
        kinds=tuple(dialect.keys),
    )


def predict(gives: type[BaseModel], dialect: Dialect) -> Action:
    """Logits of masked proteins, in one generation's words."""
    return Action(
        name="predict",
        summary="Logits of proteins in which one residue or more is <mask>",
        takes=PredictBody,
        example={"items": [{"sequence": "MKT<mask>YIAKQR"}]},
        masks="some",
        gives=gives,
        asked=_asking(
            logits_requests, dialect.predict_answer, lambda _, outputs: named_arrays(outputs)
        ),
    )


class LogProb(BaseModel):
    """The log-probability of one item."""

    log_prob: float = Field(
        description="sum over the natural residues of log softmax over the 20 natural amino acids,"
        " from one pass with nothing masked; natural logarithm"
    )


class LogProbAnswer(BaseModel):
    """One result for each item, in the same order."""

    results: list[LogProb]


def _log_probs(requests: list[ForwardRequest], outputs: list[Outputs]) -> list[float]:
    return [
        log_prob(own.logits, request.tokens)
        for request, own in zip(requests, outputs, strict=True)
        if own.logits is not None
    ]


def _log_prob_answer(requests: list[ForwardRequest], outputs: list[Outputs]) -> dict[str, Any]:
    return {"results": [{"log_prob": value} for value in _log_probs(requests, outputs)]}


def _log_prob_arrays(requests: list[ForwardRequest], outputs: list[Outputs]) -> dict[str, Float]:
    values = _log_probs(requests, outputs)
    return {f"{index}.log_prob": np.array(v, np.float32) for index, v in enumerate(values)}


LOG_PROB = Action(
    name="log_prob",
    summary="Approximate log-probability of proteins, from one unmasked pass",
    takes=LogProbBody,
    example={"items": [{"sequence": "MKTAYIAKQR"}]},
    masks="none",
    gives=LogProbAnswer,
    asked=_asking(logits_requests, _log_prob_answer, _log_prob_arrays),
)
