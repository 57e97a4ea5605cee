"""Every way to ask for what cannot be answered, and what is said to it.

Written for the server `guarded`: models my-slug (3 layers), esm2-8m, headless (no contact head)
and esm2-demo; at most 3 items, 300 residues, 4096 bytes; tokens.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.wire.server import Answer, Server

ENCODE = "/api/v2/my-slug/encode/"
PREDICT = "/api/v2/my-slug/predict/"
#: In front of every faulty sequence; no answer may contain it. 20 residues.
SECRET = "MWHCPNQDFYMWHCPNQDFY"
TOKENS = "first-secret, second-secret"
GOOD = {"sequence": SECRET}
GOOD_MASKED = {"sequence": f"{SECRET}<mask>"}
GOOD_BODY = json.dumps({"items": [GOOD]}).encode()

INVALID = "request.invalid"
NOT_JSON = "request.not_json"
TOO_LARGE = "request.body_too_large"


@dataclass(frozen=True)
class Refusal:
    """A request and its refusal.

    Attributes:
        name: the id of the test.
        content: body of the request, bytes or something to write as JSON; a function makes an
            iterator, sent in chunks.
        says: words of the message; for faults of the body, place -> words of each, and those
            are all the places that may be named.
    """

    name: str
    content: Any
    code: str
    says: tuple[str, ...] | Mapping[str, tuple[str, ...]]
    status: int = 400
    path: str = ENCODE
    method: str = "POST"
    headers: Mapping[str, str | None] = field(default_factory=dict)

    def send(self, server: Server) -> Answer:
        """Ask the server for it."""
        content = self.content() if callable(self.content) else self.content
        if not isinstance(content, bytes | Iterator):
            content = json.dumps(content).encode()
        return server.request(self.method, self.path, content, self.headers)


# --- sequences ---------------------------------------------------------------------------------


def _sequence(name: str, sequence: Any, code: str, *words: str, action: str = "encode") -> Refusal:
    """A faulty sequence between two good ones."""
    good = GOOD if action == "encode" else GOOD_MASKED
    return Refusal(
        f"{action}: {name}",
        {"items": [good, {"sequence": sequence}, good]},
        code,
        {"items__1__sequence": words},
        path=ENCODE if action == "encode" else PREDICT,
    )


def _letter(name: str, after: str, letter: str, *words: str, action: str = "encode") -> Refusal:
    """A letter without a token after 20 good residues and `after`; the position counts from 1."""
    place = 21 + len(after.replace("<mask>", "X"))
    says = (f"residue {place} is {letter!r}", *words)
    sequence = f"{SECRET}{after}{letter}"
    return _sequence(name, sequence, "request.invalid_sequence", *says, action=action)


ALPHABET_HINT = "ACDEFGHIKLMNPQRSTVWY, X B U Z O"
SEQUENCES = [
    _sequence("empty", "", "request.empty_sequence", "empty", "at least one residue"),
    _letter("lower case", "", "m", "upper case"),
    _letter("J", "MK", "J", ALPHABET_HINT),
    _letter("digit", "", "1", ALPHABET_HINT),
    _letter("space", "", " ", "white space"),
    _letter("tab", "", "\t", "white space"),
    _letter("trailing newline", "", "\n", "line ends"),
    _letter("trailing carriage return", "", "\r", "line ends"),
    _letter("stop codon", "", "*", "stop codons"),
    _letter("cyrillic M", "", "\u041c", ALPHABET_HINT),
    _letter("full-width M", "", "\uff2d", ALPHABET_HINT),
    _letter("greek K", "", "\u039a", ALPHABET_HINT),
    _letter("latin-1 A with ring", "", "\u00c5", ALPHABET_HINT),
    _letter("no-break space", "", "\u00a0", "white space"),
    _letter("zero-width space", "", "\u200b", ALPHABET_HINT),
    _letter("emoji", "", "\U0001f9ec", ALPHABET_HINT),
    _letter("NUL", "", "\x00", ALPHABET_HINT),
    _letter("question mark", "", "?", ALPHABET_HINT),
    _sequence("only a newline", "\n", "request.invalid_sequence", "residue 1", "white space"),
    _sequence(
        "mask",
        f"{SECRET}<mask>MK<mask>",
        "request.mask_not_allowed",
        "residue 21 is <mask>",
        "use predict",
    ),
    _sequence(
        "unfinished mask", f"{SECRET}<mask", "request.invalid_sequence", "residue 21", "<mask>"
    ),
    _sequence("another word", f"{SECRET}<cls>", "request.invalid_sequence", "residue 21", "<mask>"),
    _sequence("too long", "M" * 301, "request.sequence_too_long", "301 residues", "300", "shorten"),
    _sequence("null", None, INVALID, "must be a string"),
    _sequence("number", 5, INVALID, "must be a string"),
    _sequence("true", True, INVALID, "must be a string"),
    _sequence("list", [SECRET], INVALID, "must be a string"),
    _sequence("object", {"sequence": SECRET}, INVALID, "must be a string"),
    _sequence(
        "no mask", SECRET, "request.mask_missing", "<mask>", "at least one", action="predict"
    ),
    _sequence("empty", "", "request.empty_sequence", "empty", action="predict"),
    _letter("J after a mask", "<mask>", "J", ALPHABET_HINT, action="predict"),
    _letter("lower case", "<mask>", "m", "upper case", action="predict"),
    _letter("trailing newline", "<mask>", "\n", "line ends", action="predict"),
    _letter("one bracket too many", "<mask>", ">", action="predict"),
    _sequence(
        "mask in capitals",
        f"{SECRET}<MASK>",
        "request.invalid_sequence",
        "residue 21 is '<'",
        "<mask>",
        action="predict",
    ),
    _sequence(
        "too long, a mask being one residue",
        "<mask>" * 301,
        "request.sequence_too_long",
        "301 residues",
        "300",
        action="predict",
    ),
]


# --- the rest of the body ----------------------------------------------------------------------


def _body(name: str, content: Any, place: str, *words: str, code: str = INVALID) -> Refusal:
    return Refusal(name, content, code, {place: words})


def _params(name: str, params: Any, place: str, *words: str, code: str = INVALID) -> Refusal:
    return _body(name, {"items": [GOOD], "params": params}, place, *words, code=code)


LAYER = "request.layer_out_of_range"
BODIES = [
    _body("no items field", {}, "items", "required"),
    _body("items empty", {"items": []}, "items", "at least 1"),
    _body("items null", {"items": None}, "items", "must be a list"),
    _body("items an object", {"items": GOOD}, "items", "must be a list"),
    _body("items a string", {"items": SECRET}, "items", "must be a list"),
    _body("items a number", {"items": 3}, "items", "must be a list"),
    _body(
        "too many items",
        {"items": [GOOD] * 4},
        "items",
        "4 items",
        "limit here is 3",
        code="request.too_many_items",
    ),
    _body("item a string", {"items": [GOOD, SECRET]}, "items__1", "must be an object"),
    _body("item null", {"items": [GOOD, None]}, "items__1", "must be an object"),
    _body("item a list", {"items": [GOOD, [SECRET]]}, "items__1", "must be an object"),
    _body("item without sequence", {"items": [GOOD, {}]}, "items__1__sequence", "required"),
    _body("unknown field", {"items": [GOOD], "extra": 1}, "extra", "unknown field"),
    _body(
        "unknown field in an item",
        {"items": [GOOD, {**GOOD, "name": "p53"}]},
        "items__1__name",
        "unknown field",
    ),
    _params("unknown field in params", {"layers": [1]}, "params__layers", "unknown field"),
    _params("params a list", [], "params", "must be an object"),
    _params("params a string", "mean", "params", "must be an object"),
    _params("params a number", 0, "params", "must be an object"),
    _params("include unknown", {"include": ["mean", "means"]}, "params__include__1", "per_token"),
    _params("include in capitals", {"include": ["Mean"]}, "params__include__0", "'mean'"),
    _params("include unknown, bare", {"include": "means"}, "params__include__0", "'mean'"),
    _params("include empty", {"include": []}, "params__include", "at least 1"),
    _params("include null", {"include": None}, "params__include", "must be a list"),
    _params("include a number", {"include": 5}, "params__include__0", "'mean'"),
    _params("include an object", {"include": {"mean": True}}, "params__include", "must be a list"),
    _params("include nested", {"include": [["mean"]]}, "params__include__0", "'mean'"),
    _params(
        "layer too high",
        {"repr_layers": [4]},
        "params__repr_layers__0",
        "layer 4",
        "to 3",
        code=LAYER,
    ),
    _params(
        "layer too low",
        {"repr_layers": [-5]},
        "params__repr_layers__0",
        "layer -5",
        "-4",
        code=LAYER,
    ),
    _params(
        "layer far too high", {"repr_layers": 2**63}, "params__repr_layers__0", "to 3", code=LAYER
    ),
    _params("layer a bool", {"repr_layers": [True]}, "params__repr_layers__0", "whole number"),
    _params("layer a bare bool", {"repr_layers": True}, "params__repr_layers__0", "whole number"),
    _params("layer a float", {"repr_layers": [0, 1.5]}, "params__repr_layers__1", "whole number"),
    _params("layer a bare float", {"repr_layers": 1.5}, "params__repr_layers__0", "whole number"),
    _params("layer a string", {"repr_layers": ["1"]}, "params__repr_layers__0", "whole number"),
    _params("layer a bare string", {"repr_layers": "-1"}, "params__repr_layers__0", "whole number"),
    _params("layer null", {"repr_layers": [None]}, "params__repr_layers__0", "whole number"),
    _params("layers null", {"repr_layers": None}, "params__repr_layers", "must be a list"),
    _params("layers empty", {"repr_layers": []}, "params__repr_layers", "at least 1"),
    _params(
        "layer beyond 64 bits", {"repr_layers": [10**30]}, "params__repr_layers__0", "whole number"
    ),
    Refusal(
        "contacts without a contact head",
        {"items": [GOOD], "params": {"include": ["mean", "contacts"]}},
        "request.contacts_unavailable",
        {"params__include": ("headless", "no contact head", "every other output works")},
        path="/api/v2/headless/encode/",
    ),
    Refusal(
        "two bad items of one kind",
        {"items": [{"sequence": ""}, GOOD, {"sequence": ""}]},
        "request.empty_sequence",
        {"items__0__sequence": ("empty",), "items__2__sequence": ("empty",)},
    ),
    Refusal(
        "faults of several kinds",
        {"items": [GOOD, {"sequence": "J"}, {"sequence": ""}], "params": {"repr_layers": [9, 8]}},
        INVALID,
        {
            "items__1__sequence": ("'J'",),
            "items__2__sequence": ("empty",),
            "params__repr_layers__0": ("layer 9",),
            "params__repr_layers__1": ("layer 8",),
        },
    ),
    Refusal(
        "two items of a wrong type",
        {"items": [{"sequence": 1}, GOOD, "M"]},
        INVALID,
        {"items__0__sequence": ("must be a string",), "items__2": ("must be an object",)},
    ),
]


# --- not JSON ----------------------------------------------------------------------------------


def _not_json(name: str, content: bytes, *words: str) -> Refusal:
    return Refusal(name, content, NOT_JSON, words)


NOT_JSONS = [
    _not_json("no body", b"", "not JSON"),
    _not_json("white space only", b"  \n", "not JSON"),
    _not_json("truncated", GOOD_BODY[:-3], "not JSON"),
    _not_json("two documents", GOOD_BODY + GOOD_BODY, "not JSON"),
    _not_json("trailing comma", b'{"items": [{"sequence": "M"},]}', "line 1"),
    _not_json("single quotes", b"{'items': [{'sequence': 'M'}]}", "line 1"),
    _not_json("FASTA", f">p53\n{SECRET}\n".encode(), "line 1"),
    _not_json("a form", f"sequence={SECRET}".encode(), "line 1"),
    _not_json("NaN", b'{"items": [{"sequence": NaN}]}', "line 1"),
    _not_json("NaN as a layer", b'{"items": [], "params": {"repr_layers": [NaN]}}', "line 1"),
    _not_json("Infinity", b'{"items": [], "params": {"repr_layers": Infinity}}', "line 1"),
    _not_json("minus Infinity", b'{"items": [], "params": {"repr_layers": -Infinity}}', "line 1"),
    _not_json("not UTF-8", b'{"items": [{"sequence": "M\xff"}]}', "not JSON"),
    _not_json("UTF-16", GOOD_BODY.decode().encode("utf-16"), "not JSON"),
    _not_json("half a surrogate pair", b'{"items": [{"sequence": "M\\ud800"}]}', "not JSON"),
    _not_json("raw newline in a string", b'{"items": [{"sequence": "M\n"}]}', "not JSON"),
    _not_json("nested 1100 lists deep", b"[" * 1100 + b"]" * 1100, "not JSON"),
    _not_json("nested 800 objects deep, cut", b'{"a":' * 800, "not JSON"),
    *(
        _not_json(f"top level: {text.decode()}", text, "must be an object", '"items"')
        for text in (b"[]", b'"items"', b"3", b"1.5", b"null", b"true", b'[{"sequence": "M"}]')
    ),
    _not_json("nested 1000 deep", b'{"items": ' + b"[" * 1000 + b"]" * 1000 + b"}", "32 deep"),
    *(
        _not_json(f"a name twice: {item}", f'{{"items": [{{{item}}}]}}'.encode(), "same name twice")
        for item in ('"sequence": "M", "sequence": "K"', '"sequence": "M", "\\u0073equence" : 1')
    ),
]


# --- bytes on the wire -------------------------------------------------------------------------


def _gzip(name: str, content: bytes, *words: str, **more: Any) -> Refusal:
    given = {"code": NOT_JSON, "headers": {"Content-Encoding": "gzip"}} | more
    return Refusal(f"gzip: {name}", content, says=words, **given)


def _damaged() -> bytes:
    zipped = bytearray(gzip.compress(GOOD_BODY))
    zipped[-6] ^= 0xFF  # in the checksum: everything inflates, and is not what was sent
    return bytes(zipped)


def _chunks_beyond_the_limit() -> Iterator[bytes]:
    return iter([b" " * 1000] * 5)


def _encoding(name: str) -> Refusal:
    says, headers = (repr(name), "gzip"), {"Content-Encoding": name}
    code = "request.unsupported_encoding"
    return Refusal(f"encoding {name}", GOOD_BODY, code, says, 415, headers=headers)


ZIPPED = gzip.compress(GOOD_BODY)
TRANSFERS = [
    _gzip("plain JSON", GOOD_BODY, "gzip"),
    _gzip("nothing", b"", "cut short"),
    _gzip("cut", ZIPPED[:-9], "cut short"),
    _gzip("without its checksum", ZIPPED[:-8], "cut short"),
    _gzip("damaged", _damaged(), "damaged"),
    _gzip("something after it", ZIPPED + b"\0", "after the end"),
    _gzip("a document in each of two members", ZIPPED + ZIPPED, "line 1"),
    _gzip("cut in its second member", ZIPPED + ZIPPED[:-9], "cut short"),
    _gzip("not JSON inside", gzip.compress(b"nonsense"), "not JSON"),
    _gzip("a bomb", gzip.compress(b" " * 1_000_000), "4096 bytes", code=TOO_LARGE, status=413),
    _gzip("one byte too large", gzip.compress(b" " * 4097), "4096", code=TOO_LARGE, status=413),
    Refusal("body too large", b" " * 4097, TOO_LARGE, ("4096 bytes", "fewer"), 413),
    Refusal("body too large, chunked", _chunks_beyond_the_limit, TOO_LARGE, ("4096 bytes",), 413),
    *(_encoding(name) for name in ("br", "deflate", "zstd", "gzip, gzip")),
]


# --- where to, how, by whom --------------------------------------------------------------------


def _model(name: str, *words: str, code: str = "model.unknown") -> Refusal:
    return Refusal(f"model {name}", {"items": [GOOD]}, code, words, 404, f"/api/v2/{name}/encode/")


def _nothing_at(path: str) -> Refusal:
    return Refusal(f"path {path}", {"items": [GOOD]}, "http.not_found", (path,), 404, path)


def _method(method: str, path: str = ENCODE, allowed: str = "POST") -> Refusal:
    says = (path, method, allowed)
    return Refusal(f"{method} {path}", b"", "http.method_not_allowed", says, 405, path, method)


def _token(name: str, *words: str, **headers: str | None) -> Refusal:
    given = {"Authorization": None} | headers
    says = words or ("credentials were not provided", "Authorization: Token")
    code = "auth.unauthenticated"
    return Refusal(f"token: {name}", {"items": [GOOD]}, code, says, 401, headers=given)


ADDRESSES = [
    _model("esm2-651m", "'esm2-651m'", "did you mean", "esm2-650m"),
    _model("my-slugg", "did you mean", "my-slug"),
    _model("alphafold", "'alphafold'", "known", "my-slug", "esm2-650m"),
    _model("esm2-3B", "esm2-3b is not served", "esm2 fetch esm2-3b", code="model.not_served"),
    _model("esm2_t33_650M_UR50D", "esm2 fetch esm2-650m", code="model.not_served"),
    _model("x" * 5000, "no model is called"),
    _nothing_at("/api/v2/my-slug/transform/"),
    _nothing_at("/api/v2//encode/"),
    _nothing_at("/api/v2/my-slug/encode//"),
    _nothing_at("/nothing"),
    *(_method(method) for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS")),
    _method("GET", "/api/v2/my-slug/predict"),
    _method("POST", "/health/live", "GET"),
    _method("DELETE", "/info", "GET"),
    _token("missing"),
    _token("empty", "Invalid token", Authorization="Token "),
    _token("wrong", "Invalid token", Authorization="Token wrong-secret"),
    _token("in another case", "Invalid token", Authorization="Token FIRST-SECRET"),
    _token("the list of all", "Invalid token", Authorization="Token first-secret, second-secret"),
    _token("not ASCII", "Invalid token", Authorization="Token s\xe9cret"),
    _token("without a scheme", "neither Token nor Bearer", Authorization="first-secret"),
    _token("of another scheme", Authorization="Basic Zmlyc3Qtc2VjcmV0"),
    _token("wrong cookie", "Invalid token", Cookie="access=wrong-secret;refresh=x"),
    _token("cookie of another name", Cookie="refresh=first-secret"),
]

ALL = [*SEQUENCES, *BODIES, *NOT_JSONS, *TRANSFERS, *ADDRESSES]
