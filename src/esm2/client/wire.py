"""The client's side of the wire: arguments -> request, reply -> arrays or error. Pure.

    Call   POST /api/v3/{slug}/encode/     JSON, gzip when it is long     no I/O in this module
    Reply  200 application/x-npz           float32 arrays "{item}.{kind}.{layer}"
           4xx, 5xx application/json       {"error": ..., "code": ...} -> `refusals.error_of`

What comes back is checked against what was asked for: names, shapes, dtypes, weights.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from esm2 import __version__
from esm2.alphabet import AMINO_ACIDS
from esm2.arguments import text
from esm2.catalog import CAVEATS, DEMO_SLUG, Shape, canonical
from esm2.client.refusals import error_of
from esm2.errors import Esm2Error, ModelNotServed, SettingsError, UnexpectedReply
from esm2.types import BY_LAYER, KINDS, OUTPUTS, ByLayer, Decided, Encoded, Float, Want

NPZ = "application/x-npz"
JSON = "application/json"

# Bytes of a body from which compressing it is worth the time; BioLM's SDKs do the same.
_WORTH_GZIP = 256


@dataclass(frozen=True, slots=True)
class Call:
    """A request to send.

    Attributes:
        path: below the address of the server.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it came, whole.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            UnexpectedReply: it is something else.
        """
        try:
            if self.media_type == JSON:
                return json.loads(self.body)
        except ValueError as error:
            raise UnexpectedReply(f"status {self.status} came with damaged JSON") from error
        found = self.media_type or "a body of unknown type"
        raise UnexpectedReply(f"status {self.status} came with {found[:80]}, not JSON")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold, as the server publishes it."""

    max_items: int
    max_residues: int
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class Info:
    """What a server says of itself at /info."""

    limits: Limits
    models: Mapping[str, Decided]

    def model(self, name: str | None) -> Decided:
        """The model of that name, in any known spelling; without one, the only one there is.

        `esm2-demo`, which every server has, is taken without being named only where it is alone.

        Raises:
            UnknownModel: nobody knows it.
            ModelNotServed: it is known, but not served there.
            SettingsError: none was named and there are several.
        """
        if name is None:
            names = [slug for slug in self.models if slug != DEMO_SLUG] or [DEMO_SLUG]
            if len(names) > 1:
                raise SettingsError(
                    f"the server has {', '.join(self.models)}; say which, as in model={names[0]!r}"
                )
            name = names[0]
        slug = canonical(name, self.models)
        if slug not in self.models:
            raise ModelNotServed(slug, list(self.models))
        return self.models[slug]


# --- requests ----------------------------------------------------------------------------------

INFO = Call("GET", "/info", {"Accept": JSON})


def post(path: str, content: Mapping[str, Any], accept: str) -> Call:
    """A JSON body, compressed when that is worth it."""
    body = json.dumps(content, separators=(",", ":"), default=_plain).encode()
    headers = {"Content-Type": JSON, "Accept": accept}
    if len(body) > _WORTH_GZIP:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=6, mtime=0)
    return Call("POST", path, headers, body)


def _plain(value: object) -> object:
    """What JSON has no form for; a program's `params` may hold numpy's numbers and arrays.

    Raises:
        TypeError: nor have we.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(
        f"there is a {type(value).__name__} in params, which JSON has no form for; use str,"
        " numbers and lists"
    )


def content_of(sequences: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request, before it is JSON."""
    items = [{"sequence": sequence} for sequence in sequences]
    return {"items": items, "params": params} if params else {"items": items}


def asking(slug: str, action: str, sequences: Sequence[str], params: Mapping[str, Any]) -> Call:
    """Ask a model for arrays."""
    return post(f"/api/v3/{slug}/{action}/", content_of(sequences, params), NPZ)


def scoring(slug: str, sequence: str, variants: Sequence[str], strategy: str, offset: int) -> Call:
    """Ask a model for the scores of variants of a protein."""
    content = {
        "items": [{"sequence": sequence, "variants": list(variants)}],
        "params": {"strategy": strategy, "offset": offset},
    }
    return post(f"/api/v3/{slug}/score/", content, NPZ)


def params_of(want: Want) -> dict[str, Any]:
    """`params` of encode."""
    params: dict[str, Any] = {"include": [kind for kind in KINDS if getattr(want, kind)]}
    return params | {"repr_layers": list(want.layers)} if want.layers else params


def authorization(token: str | None) -> dict[str, str]:
    """The headers that show a token.

    Raises:
        TypeError: it is no str.
        SettingsError: it cannot stand in a header.
    """
    if token is None:
        return {}
    text(token, "token", "pass it as one str")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            "the token is empty, or has white space or letters outside ASCII in it; pass it as it"
            " was given to you, without line end"
        )
    return {"Authorization": f"Token {token}"}


USER_AGENT = f"esm2/{__version__}"


# --- replies -----------------------------------------------------------------------------------


def info_in(reply: Reply, url: str) -> Info:
    """What the server says of itself.

    Args:
        url: the address that was given for it.

    Raises:
        Esm2Error: it refuses to say.
        UnexpectedReply: it is no server of ours.
    """
    path = urlsplit(url).path
    if reply.status == 404 and path:
        raise UnexpectedReply(
            f"there is nothing at {path}{INFO.path}",
            f"give the address without {path}, unless a proxy has an esm2 server there",
        )
    if reply.status != 200:
        raise _refusal(reply)
    content = reply.json()
    try:
        limits = Limits(**{name: int(content["limits"][name]) for name in Limits.__slots__})
        models = [_decided(model) for model in content["models"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedReply("/info does not say what an esm2 server says there") from error
    return Info(limits, {model.slug: model for model in models})


def _decided(model: Mapping[str, Any]) -> Decided:
    """One model of /info; a newer server says more and an older one less than there is here."""
    shape = Shape(**{name: int(model["shape"][name]) for name in Shape.__slots__})
    names = (name for name in Decided.__slots__ if name != "shape")
    values = {name: model[name] for name in names if name in model}
    CAVEATS[values["weights_kind"]]  # a kind that we cannot name must not pass for a known one
    return Decided(shape=shape, **values)


def arrays_in(reply: Reply, decided: Decided, first: int = 0) -> dict[str, Float]:
    """The arrays of a reply, by name.

    Args:
        decided: the model that was asked; no other weights or dtype must have answered.
        first: place of the first item of the request among all sequences of the caller.

    Raises:
        Esm2Error: the server refused; of the class that it raised.
        UnexpectedReply: it is damaged, or from elsewhere.
    """
    if reply.status != 200:
        raise _refusal(reply, first)
    if reply.media_type != NPZ:
        raise UnexpectedReply(f"{reply.media_type[:80] or 'no type'} came instead of arrays")
    for header, known, other in (
        ("x-esm2-weights", decided.weights_sha256, "other weights"),
        ("x-esm2-dtype", decided.dtype, "another dtype"),
    ):
        if reply.headers.get(header, known) != known:
            raise UnexpectedReply(
                f"{decided.slug} has {other} than when this client asked for the first time",
                "make a new client",
            )
    try:
        with zipfile.ZipFile(io.BytesIO(reply.body)) as members:
            return {name.removesuffix(".npy"): _array(members, name) for name in members.namelist()}
    except Exception as error:  # zipfile and numpy raise whatever a wrong byte leads them to
        raise UnexpectedReply("the arrays in the reply are damaged", "ask again") from error


def _refusal(reply: Reply, first: int = 0) -> Esm2Error:
    if 300 <= reply.status < 400:  # not followed: the token is for this server alone
        to = ascii(reply.headers.get("location", ""))[1:201]
        return UnexpectedReply(f"the server redirects to {to}", "give the address that answers")
    if reply.media_type != JSON and reply.status in _OF_A_PROXY:
        said, advice = _OF_A_PROXY[reply.status]
        return UnexpectedReply(f"a proxy on the way answered {reply.status}: {said}", advice)
    if reply.status == 400 and reply.media_type != JSON and b"HTTPS" in reply.body:
        return UnexpectedReply("it speaks TLS", "write https:// instead of http://")
    return error_of(reply.status, reply.json(), first)


# Our server says everything in JSON; these are what proxies in front of it say.
_OF_A_PROXY = {
    413: (
        "the request is larger than it lets pass",
        "raise its limit (client_max_body_size of nginx), or send fewer sequences at once",
    ),
    502: (
        "nothing answers behind it",
        "is `esm2 serve` running, and does the proxy have its address?",
    ),
    503: (
        "it has no server that is ready",
        "is `esm2 serve` running, and does the proxy have its address?",
    ),
    504: (
        "it did not wait for the answer",
        "raise its timeout (proxy_read_timeout of nginx, timeout server of haproxy), or send fewer"
        " sequences at once",
    ),
}


def _array(members: zipfile.ZipFile, name: str) -> Float:
    with members.open(name) as member:
        array: Float = np.lib.format.read_array(member, allow_pickle=False)
    return array


def scores_in(arrays: Mapping[str, Float], count: int) -> Float:
    """The scores in the arrays of a reply to `scoring`: float32 (count,).

    Raises:
        UnexpectedReply: it is not there, or not of its shape, or not float32.
    """
    return _checked(arrays, "0.scores", (count,))


def _checked(arrays: Mapping[str, Float], name: str, shape: tuple[int, ...]) -> Float:
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype != np.float32:
        found = "nothing" if array is None else f"{array.dtype} {array.shape}"
        raise UnexpectedReply(f"the reply has {found} as {name}, not float32 {shape}")
    return array


class Item:
    """The arrays of one item of a reply.

    Args:
        arrays: of the whole reply.
        index: place of the item in the request.
        residues: L of its sequence.
        shape: of the model.
    """

    def __init__(
        self, arrays: Mapping[str, Float], index: int, residues: int, shape: Shape
    ) -> None:
        self._arrays = arrays
        self._index = index
        self._layers = shape.layers
        self._shapes: dict[str, tuple[int, ...]] = {
            **{"log_prob": (), "pll": ()},
            "scores": (residues, len(AMINO_ACIDS)),  # of a scan
        }
        for kind, about in OUTPUTS.items():
            self._shapes[kind] = about.shape(shape, residues, len(AMINO_ACIDS))

    def array(self, kind: str, layer: int | None = None) -> Float:
        """One array.

        Raises:
            UnexpectedReply: it is not there, or not of its shape, or not float32.
        """
        name = f"{self._index}.{kind}" if layer is None else f"{self._index}.{kind}.{layer}"
        return _checked(self._arrays, name, self._shapes[kind])

    def encoded(self, want: Want) -> Encoded:
        """Everything that was asked for."""
        values: dict[str, Any] = {}
        for kind in KINDS:
            wanted = getattr(want, kind)
            if kind in BY_LAYER:
                layers = want.layers if wanted else ()
                values[kind] = ByLayer({n: self.array(kind, n) for n in layers}, self._layers)
            elif wanted:
                values[kind] = self.array(kind)
        return Encoded(**values)
