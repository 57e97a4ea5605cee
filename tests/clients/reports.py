"""What clients reported, in terms that are the same for all of them.

results_of   report -> the results, as the generation writes them
arrays       result -> (kind, layer) -> array
refusal_of   report -> (status, body)
shown        report -> a line for the table
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esm2 import Model
from esm2.types import Outputs
from tests.clients.cases import KINDS, Case
from tests.clients.roster import Client
from tests.near import assert_same

Arrays = dict[tuple[str, int | None], NDArray[np.float64]]

_HOSTED = {
    "mean": "embeddings",
    "per_token": "per_token_embeddings",
    "bos": "bos_embeddings",
    "contacts": "contacts",
    "logits": "logits",
    "attentions": "attentions",
}
#: Ours -> what a generation calls it.
WORDS = {
    "v1": _HOSTED | {"per_token": "residue_embeddings"},
    "v2": _HOSTED
    | {
        "mean": "mean_representations",
        "per_token": "representations",
        "bos": "bos_representations",
    },
    "v3": _HOSTED,
}
LAYERED = ("mean", "per_token", "bos")
#: What is no array.
_BESIDE = {"sequence_index", "sequence_tokens", "alphabet_tokens", "vocab_tokens"}


# --- numbers -------------------------------------------------------------------------------------


def results_of(client: Client, report: Any) -> list[dict[str, Any]]:
    """The results that a report holds."""
    if client.program == "classes.py":  # a row for each item, each with the list of its one result
        for row in report:
            assert row["status_code"] == 200, row
        return [result for row in report for result in row["results"]]
    if client.program == "one_liners.py":  # a list, or the bare result of a single item
        return report if isinstance(report, list) else [report]
    assert report["status"] == 200, report
    return report["body"]["results"]


def arrays(client: Client, result: dict[str, Any]) -> Arrays:
    """The arrays of a result; fails on any field that its generation does not have."""
    ours = {theirs: kind for kind, theirs in WORDS[client.dialect].items()}
    found: Arrays = {}
    for word in result.keys() - _BESIDE:
        kind, value = ours[word], result[word]
        if kind not in LAYERED:
            found[kind, None] = np.array(value)
        elif client.dialect == "v2":
            found |= {(kind, int(layer)): np.array(array) for layer, array in value.items()}
        else:
            inner = "embeddings" if kind == "per_token" else "embedding"
            found |= {(kind, each["layer"]): np.array(each[inner]) for each in value}
    return found


def engine_arrays(model: Model, case: Case) -> list[Arrays]:
    """The same from the engine in this process."""
    if case.action == "predict":
        return [{("logits", None): logits} for logits in model.predict(case.sequences)]
    params = dict(case.params or {})
    include, layers = params.get("include", ["mean"]), params.get("repr_layers", [-1])
    return [_own(own) for own in model.encode(case.sequences, include, layers)]


def _own(outputs: Outputs) -> Arrays:
    found: Arrays = {}
    for kind in KINDS:
        value = getattr(outputs, kind)
        if kind in LAYERED:
            found |= {(kind, layer): array for layer, array in value.items()}
        elif value is not None:
            found[kind, None] = value
    return found


def check_arrays(got: Sequence[Arrays], want: Sequence[Arrays]) -> None:
    """The same arrays in the same order, with the same float32 numbers."""
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert one.keys() == other.keys()
        for name, array in other.items():
            assert_same(one[name], array, name[0])


# --- refusals ------------------------------------------------------------------------------------


def refusal_of(client: Client, report: Any) -> tuple[int, dict[str, Any]]:
    """Status and body, as the client gives them to its user."""
    if client.program == "classes.py":
        [row] = report
        return row["status_code"], row
    if client.program == "one_liners.py":
        if "raised" in report:
            assert report["raised"] == "HTTPStatusError", report
            return report["status_code"], json.loads(report["message"])
        return report["status_code"], report
    return report["status"], report["body"]


def sentence_of(client: Client, body: dict[str, Any], place: str) -> str:
    """What is said about a place, or about the whole; fails if another place is named, too."""
    if client.dialect != "v1":
        error = body["error"]
        assert not place or list(error) == [place], body
        return " ".join(error[place]) if place else error
    places = [error["loc"] for error in body["errors"]]
    assert places == ([["body", *place.split("__")]] if place else []), body
    return " ".join([error["msg"] for error in body["errors"]]) if place else body["detail"]


def shown(report: Any) -> str:
    """A report of a refusal as the table has it."""
    if isinstance(report, list):
        [row] = report
        return f"gives the row {_code({key: row[key] for key in row if key[:5] != 'batch'})}"
    if "body" in report:
        return f"{report['status']} {_code(report['body'])}"
    if "raised" in report:
        return f"raises `{report['raised']}`: `{report['message']}`"
    return f"returns {_code(report)}"


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"
