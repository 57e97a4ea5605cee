"""How a generation says our outputs: which key each kind has, in which order, and what a layer is.

    Outputs.mean {33: (D,)}  ->  v2  "mean_representations": {"33": [..]}
                                 v3  "embeddings": [{"layer": 33, "embedding": [..]}]
    Outputs.logits (L, 33)   ->      "logits": (L, 20), and their columns where it says them

A kind without a key is one that the generation does not speak: asking for it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from esm2.alphabet import AMINO_ACIDS, letters
from esm2.server.encoding import numbers, twenty
from esm2.types import BY_LAYER, Float, ForwardRequest, OutputName, Outputs


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of a generation.

    Attributes:
        keys: kind -> its key in a result of encode, in the order of results.
        layered: a kind and its layers -> what is under its key.
        columns: the key of the columns of logits in predict.
        encode_has_columns: whether encode has it, too.
    """

    keys: Mapping[OutputName, str]
    layered: Callable[[OutputName, Mapping[int, Float]], object]
    columns: str
    encode_has_columns: bool

    def encode_answer(self, _: list[ForwardRequest], results: list[Outputs]) -> dict[str, Any]:
        """Our outputs -> their encode; only what was asked for is there."""
        return {"results": [self._encoded(index, own) for index, own in enumerate(results)]}

    def _encoded(self, index: int, own: Outputs) -> dict[str, Any]:
        result: dict[str, Any] = {"sequence_index": index}
        for kind, key in self.keys.items():
            found = getattr(own, kind)
            if kind in BY_LAYER and found:
                result[key] = self.layered(kind, dict(sorted(found.items())))
            elif kind == "logits" and found is not None:
                result |= self._logits(key, found, self.encode_has_columns)
            elif kind not in BY_LAYER and found is not None:
                result[key] = numbers(found)
        return result

    def predict_answer(
        self, requests: list[ForwardRequest], results: list[Outputs]
    ) -> dict[str, Any]:
        """Our outputs -> their predict."""
        return {
            "results": [
                {
                    "logits": numbers(twenty(own.logits)),
                    "sequence_tokens": letters(request.tokens),
                    self.columns: list(AMINO_ACIDS),
                }
                for request, own in zip(requests, results, strict=True)
                if own.logits is not None
            ]
        }

    def _logits(self, key: str, logits: Float, columns: bool) -> dict[str, object]:
        return {
            key: numbers(twenty(logits)),
            **({self.columns: list(AMINO_ACIDS)} if columns else {}),
        }
