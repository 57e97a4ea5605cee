"""The three generations of the API as a client sees them: addresses, names, refusals.

    Dialect.ask(server, slug, action, items, ...)  ->  Answer
    Dialect.arrays(action, answer)                 ->  {"0.mean.3": (D,), "0.logits": (L, 20), ...}

`arrays` undoes what the dialects do differently; its names are those of binary replies, so answers
of any two kinds can be compared. Written from BioLM's documents, not from the server.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.wire.digits import float32, read
from tests.wire.server import Answer, Server

Arrays = dict[str, np.ndarray]

NPZ = "application/x-npz"
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"
MASKED = "MKTAYI<mask>KQRQISFVKSHFSRQ"
#: A sequence that each action takes.
EXAMPLES = {"encode": PROTEIN, "predict": MASKED, "log_prob": PROTEIN}
#: The columns of logits, as BioLM's documentation lists them.
COLUMNS = list("LAGVSERTIDPKQNFYMHWC")
KINDS = ("mean", "per_token", "bos", "contacts", "logits", "attentions")
BY_LAYER = ("mean", "per_token", "bos")


@dataclass(frozen=True)
class Dialect:
    """A generation.

    Attributes:
        prefix, slash: the address, and whether its own clients end it with a slash.
        keys: kind -> its key in an encode answer, in the order of answers.
        columns: kind of answer -> the key of the columns of its logits, if it has one.
        actions: what it can be asked.
        faulty: the status of a refusal of a body.
    """

    prefix: str
    slash: bool
    keys: Mapping[str, str]
    columns: Mapping[str, str]
    actions: tuple[str, ...]
    faulty: int

    def path(self, slug: str, action: str, *, slash: bool | None = None) -> str:
        """Where an action is; the slash as its own clients write it unless said otherwise."""
        end = "/" if (self.slash if slash is None else slash) else ""
        return f"{self.prefix}/{slug}/{action}{end}"

    def ask(
        self,
        server: Server,
        action: str,
        *sequences: str,
        slug: str = "my-slug",
        accept: str | None = None,
        **params: Any,
    ) -> Answer:
        """The answer to a request that must succeed."""
        items = [{"sequence": sequence} for sequence in sequences]
        body = {"items": items, "params": params}
        answer = server.post(self.path(slug, action), body, {"Accept": accept})
        assert answer.status == 200, answer.body[:500]
        return answer

    def results(self, server: Server, action: str, *sequences: str, **more: Any) -> list[Any]:
        """The results of that, numbers with a fraction as `Digits`."""
        content = read(self.ask(server, action, *sequences, **more).body)
        assert list(content) == ["results"]
        return content["results"]

    def encoded(self, server: Server, *include: str, **params: Any) -> dict[str, Any]:
        """The result of an encode of PROTEIN."""
        [result] = self.results(server, "encode", PROTEIN, include=list(include), **params)
        return result

    def arrays(self, action: str, answer: Answer) -> Arrays:
        """Every number of an answer under the name it has in a binary reply."""
        found: Arrays = {}
        for index, result in enumerate(read(answer.body)["results"]):
            if action == "encode":
                assert result["sequence_index"] == index
            for kind, part in self._parts(action, result):
                found[f"{index}.{kind}"] = float32(part)
        return found

    def _parts(self, action: str, result: dict[str, Any]) -> list[tuple[str, Any]]:
        if action != "encode":
            kind = {"predict": "logits", "log_prob": "log_prob"}[action]
            return [(kind, result[kind])]
        parts: list[tuple[str, Any]] = []
        for kind, key in self.keys.items():
            if key in result and kind in BY_LAYER:
                parts += [(f"{kind}.{n}", part) for n, part in self.layers(kind, result[key])]
            elif key in result:
                parts.append((kind, result[key]))
        return parts

    def layers(self, kind: str, value: Any) -> list[tuple[Any, Any]]:
        """An embedding field as pairs of layer and numbers, in the order of the answer."""
        if isinstance(value, dict):
            return list(value.items())
        name = "embeddings" if kind == "per_token" else "embedding"
        assert all(list(part) == ["layer", name] for part in value)
        return [(part["layer"], part[name]) for part in value]


V1 = Dialect(
    prefix="/api/v1",
    slash=False,
    keys={
        "mean": "embeddings",
        "bos": "bos_embeddings",
        "per_token": "residue_embeddings",
        "contacts": "contacts",
        "attentions": "attentions",
        "logits": "logits",
    },
    columns={"encode": "vocab_tokens", "predict": "vocab_tokens"},
    actions=("encode", "predict", "log_prob"),
    faulty=422,
)
V2 = Dialect(
    prefix="/api/v2",
    slash=True,
    keys={
        "per_token": "representations",
        "mean": "mean_representations",
        "bos": "bos_representations",
        "contacts": "contacts",
        "logits": "logits",
        "attentions": "attentions",
    },
    columns={"predict": "alphabet_tokens"},
    actions=("encode", "predict"),
    faulty=400,
)
V3 = Dialect(
    prefix="/api/v3",
    slash=True,
    keys={
        "mean": "embeddings",
        "bos": "bos_embeddings",
        "per_token": "per_token_embeddings",
        "contacts": "contacts",
        "logits": "logits",
        "attentions": "attentions",
    },
    columns={"encode": "vocab_tokens", "predict": "vocab_tokens"},
    actions=("encode", "predict", "log_prob"),
    faulty=400,
)
DIALECTS = {"v1": V1, "v2": V2, "v3": V3}


def unpacked(answer: Answer) -> Arrays:
    """The arrays of a binary reply."""
    assert answer.headers["Content-Type"] == NPZ
    with np.load(io.BytesIO(answer.body), allow_pickle=False) as file:
        return dict(file)


def keys_of(dialect: Dialect, *kinds: str) -> list[str]:
    """The keys of an encode result with these kinds in it, in order."""
    keys = ["sequence_index"]
    for kind, key in dialect.keys.items():
        if kind in kinds:
            keys.append(key)
            if kind == "logits" and "encode" in dialect.columns:
                keys.append(dialect.columns["encode"])
    return keys
