"""What every client asks, and what it must be refused.

NUMBERS     calls that are answered with numbers, which are then compared with the engine's
REFUSALS    calls that cannot be answered, and what is to be said about them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SLUG = "esm2-8m"
TOKEN = "first-secret"

#: A sentence of protein, 251 residues: a body of more than 256 bytes, which SDKs compress.
LONG = ("MSILVTRPSPAGEELVSRLRTLGQVAWHFPLIEFSPGQQLPQ" * 6)[:251]
KINDS = ("mean", "per_token", "bos", "contacts", "logits", "attentions")

#: Whose token: the server's, another one, no token at all, or the file that a login leaves.
Credentials = Literal["good token", "wrong token", "none", "file"]


@dataclass(frozen=True)
class Case:
    """A call.

    Attributes:
        name: what the table calls it.
        lists_of: sequences are given as lists of so many, 0 for one list.
        options: for SDKs that have any, how the client is made.
    """

    name: str
    action: str
    sequences: tuple[str, ...]
    params: Mapping[str, Any] | None = None
    slug: str = SLUG
    credentials: Credentials = "good token"
    lists_of: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As it is posted."""
        items = {"items": [{"sequence": sequence} for sequence in self.sequences]}
        return items | ({"params": dict(self.params)} if self.params else {})


EVERYTHING = Case(
    "encode, every output of three layers",
    "encode",
    ("MKTAYIAKQR", LONG[:33]),
    {"include": list(KINDS), "repr_layers": [-1, 3, 0]},
)
DEFAULTS = Case("encode, defaults, 251 residues", "encode", (LONG,))
MANY = Case("encode, 20 items", "encode", tuple(LONG[i : i + 10 + i] for i in range(20)))
LISTS = Case(
    "encode, 20 items in lists of 8, `rate_limit` given",
    "encode",
    tuple(LONG[60 + i : 70 + 2 * i] for i in range(20)),
    lists_of=8,
    options={"rate_limit": "1000/second"},
)
PREDICT = Case("predict, 2 items", "predict", ("MKT<mask>YIAKQR", f"<mask>{LONG[:33]}<mask>"))
LOG_PROB = Case("log_prob, 2 items", "log_prob", ("MKTAYIAKQR", LONG))
FILE = Case(
    "encode, token from the credentials file", "encode", ("MKTAYIAKQRW",), credentials="file"
)


@dataclass(frozen=True)
class Refusal:
    """A call that must be refused.

    Attributes:
        case: the call; of three items, the one in the middle is bad.
        status: of v2 and v3; v1 has 422 in place of 400.
        place: what is named, empty for a call that is refused as a whole.
        words: in the sentence.
    """

    case: Case
    status: int
    code: str
    place: str
    words: tuple[str, ...]


def _item(name: str, bad: str, code: str, *words: str, **more: Any) -> Refusal:
    case = Case(name, more.pop("action", "encode"), (bad,), **more)
    return Refusal(case, 400, code, "items__0__sequence", words)


def _between(name: str, bad: str, code: str, *words: str, **more: Any) -> Refusal:
    case = Case(f"{name}, between two good ones", "encode", ("MKTA", bad, "MKVLW"), **more)
    return Refusal(case, 400, code, "items__1__sequence", words)


def _whole(name: str, sequence: str, status: int, code: str, *words: str, **more: Any) -> Refusal:
    return Refusal(Case(name, "encode", (sequence,), **more), status, code, "", words)


def _param(name: str, params: Mapping[str, Any], code: str, place: str, *words: str) -> Refusal:
    return Refusal(Case(name, "encode", ("MKTA",), params), 400, code, place, words)


_LETTER = ("request.invalid_sequence", "residue 3 is 'J'")
_LENGTH = ("request.sequence_too_long", "2049 residues", "2048")
AGAIN = _between(
    "a bad letter, `retry_error_batches=True`",
    "MKJ",
    *_LETTER,
    options={"retry_error_batches": True, "raise_httpx": False},
)
NOT_AGAIN = _between(
    "a bad letter, `retry_error_batches=False`",
    "MKJTT",
    *_LETTER,
    options={"retry_error_batches": False, "raise_httpx": False},
)
NO_MASK = _item(
    "predict without a mask", "MKTA", "request.mask_missing", "<mask>", action="predict"
)
NO_TOKEN = _whole(
    "no token",
    "MKTAC",
    401,
    "auth.unauthenticated",
    "credentials were not provided",
    credentials="none",
)
BAD_LETTER = _item("a bad letter", "MKJT", *_LETTER)
BETWEEN = _between("a bad letter", "MKJT", *_LETTER)
TOO_LONG = _item("a sequence too long", "M" * 2049, *_LENGTH)
TOO_MANY = Refusal(MANY, 400, "request.too_many_items", "items", ("20 items", "limit here is 8"))
REFUSALS = (
    BAD_LETTER,
    BETWEEN,
    TOO_LONG,
    _between("a sequence too long", "M" * 2049, *_LENGTH),
    NO_MASK,
    _param(
        "an unknown `include`",
        {"include": ["mean", "means"]},
        "request.invalid",
        "params__include__1",
        "per_token",
    ),
    _param(
        "a layer out of range",
        {"repr_layers": [0, 7]},
        "request.layer_out_of_range",
        "params__repr_layers__1",
        "layer 7",
        "to 6",
    ),
    _whole("an unknown model", "MKTA", 404, "model.unknown", "did you mean", slug="esm2-9m"),
    _whole(
        "a wrong token", "MKTA", 401, "auth.unauthenticated", "token", credentials="wrong token"
    ),
    NO_TOKEN,
)
