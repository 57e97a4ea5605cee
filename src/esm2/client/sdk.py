"""BioLM's Python SDK of the API v2 (biolmai 0.1), as far as ESM-2 goes, against our server.

    from biolmai import ESM2_650M           ->      from esm2.client import ESM2_650M
    ESM2_650M().encode("MKTAYIAKQR", params={"include": ["mean"], "repr_layers": [-1]})

    [{"status_code": 200, "batch_id": 0, "batch_item": 0, "results": [{...}]},       one row for
     {"status_code": 400, "batch_id": 1, "batch_item": 0, "error": {...}, ...}]      each sequence

Rows and call shape are biolmai 0.1.10's (cls.py, api.py, asynch.py). What differs: the server says
what a sequence may hold (X, B, U, Z, O, - and . are embedded; a refused row has its status), no
address is printed, the token may be missing where the server wants none, and busy servers are
asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from esm2.arguments import texts, whole
from esm2.client import environment, wire
from esm2.client.client import Client
from esm2.errors import UnexpectedReply

Row = dict[str, Any]

# Requests at once, one sequence in each, as biolmai sends them.
_AT_ONCE = 8


class ESM2:
    """One model. Use the classes below, which say which.

    Args:
        multiprocess_threads: requests on their way at once.
        url: address of the server; else BIOLMAI_BASE_DOMAIN, else http://127.0.0.1:8000.
        token: else BIOLMAI_TOKEN, else none is sent.
    """

    slug: str

    def __init__(
        self,
        multiprocess_threads: int | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
    ) -> None:
        self._url = url or environment.address()
        self._token = token or environment.token()
        self._at_once = whole(multiprocess_threads or _AT_ONCE, "multiprocess_threads")
        if self._at_once < 1:
            raise ValueError(f"multiprocess_threads is {self._at_once}; at least one is needed")

    def encode(
        self,
        sequences: str | Iterable[str],
        params: Mapping[str, Any] | None = None,
    ) -> list[Row]:
        """Embeddings, contacts, logits and attentions.

        Args:
            sequences: one str, or many in an order.
            params: {"include": [...], "repr_layers": [...]}, as in the API v2.

        Returns:
            a row for each sequence, in order: the API's result under "results", or its refusal
            under "error".

        Raises:
            TypeError: the sequences are nothing of the kind.
            ServerUnreachable, UnexpectedReply: the server is not there, or not ours.
        """
        return self._rows("encode", sequences, params)

    def predict(
        self,
        sequences: str | Iterable[str],
        params: Mapping[str, Any] | None = None,
    ) -> list[Row]:
        """Logits of sequences with one `<mask>` or more; otherwise as `encode`."""
        return self._rows("predict", sequences, params)

    infer = predict

    def _rows(
        self,
        action: str,
        sequences: str | Iterable[str],
        params: Mapping[str, Any] | None,
    ) -> list[Row]:
        if params is not None and not isinstance(params, Mapping):
            raise TypeError(f"params is {type(params).__name__}, not a dict")
        path = f"/api/v2/{self.slug}/{action}/"
        calls = [
            wire.post(path, wire.content_of([sequence], dict(params or {})), wire.JSON)
            for sequence in _listed(sequences)
        ]
        with Client(self._url, self._token, connections=self._at_once) as client:
            replies = client.send_all(calls)
        return [_row(place, reply) for place, reply in enumerate(replies)]


def _listed(sequences: object) -> list[str]:
    return [sequences] if isinstance(sequences, str) else texts(sequences, "sequences")


def _row(place: int, reply: wire.Reply) -> Row:
    content = reply.json()
    if not isinstance(content, dict) or (reply.status == 200 and "results" not in content):
        raise UnexpectedReply("the reply is no answer of the API v2")
    row: Row = {"status_code": reply.status, "batch_id": place, "batch_item": 0}
    if reply.status == 200:
        return row | {"results": content["results"]}
    return row | content | {"batch": place}


class ESM2_8M(ESM2):  # noqa: N801  # biolmai's name
    """esm2-8m: 6 layers, D = 320."""

    slug = "esm2-8m"


class ESM2_35M(ESM2):  # noqa: N801
    """esm2-35m: 12 layers, D = 480."""

    slug = "esm2-35m"


class ESM2_150M(ESM2):  # noqa: N801
    """esm2-150m: 30 layers, D = 640."""

    slug = "esm2-150m"


class ESM2_650M(ESM2):  # noqa: N801
    """esm2-650m: 33 layers, D = 1280."""

    slug = "esm2-650m"


class ESM2_3B(ESM2):  # noqa: N801
    """esm2-3b: 36 layers, D = 2560."""

    slug = "esm2-3b"
