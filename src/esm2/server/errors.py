"""Errors on the wire: class -> status and body, once.

Every body is a JSON object with `error` (a sentence; for a faulty body, place -> sentences) and
`code`, which never changes. That is what every BioLM SDK can parse. Bodies never echo a sequence.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from esm2.errors import (
    BodyTimeout,
    BodyTooLarge,
    DeadlineExceeded,
    Esm2Error,
    Forbidden,
    ForeignHost,
    ForeignOrigin,
    InvalidRequest,
    ModelNotServed,
    ModelUnavailable,
    Moved,
    NotAcceptable,
    Overloaded,
    RateLimited,
    RequestError,
    ShuttingDown,
    TokensUnavailable,
    Unauthenticated,
    UnknownModel,
    UnsupportedEncoding,
)
from esm2.server.encoding import json_response
from esm2.server.presence import CallerLeft
from esm2.server.visits import HEADER

_log = logging.getLogger("esm2.server")

_MOST_LETTERS = 80

# The first class that fits decides.
_STATUS: tuple[tuple[type[Esm2Error], int], ...] = (
    (BodyTooLarge, 413),
    (BodyTimeout, 408),
    (UnsupportedEncoding, 415),
    (NotAcceptable, 406),
    (Moved, 404),
    (RequestError, 400),
    (UnknownModel, 404),
    (ModelNotServed, 404),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (ForeignHost, 403),
    (ForeignOrigin, 403),
    (RateLimited, 429),
    (Overloaded, 429),
    (TokensUnavailable, 503),
    (ShuttingDown, 503),
    (ModelUnavailable, 503),
    (DeadlineExceeded, 504),
    (Esm2Error, 500),
)


# Each knows after how many seconds asking again is worth it.
_COME_AGAIN = (Overloaded, RateLimited, ModelUnavailable, TokensUnavailable, ShuttingDown)


def install(app: FastAPI) -> None:
    """Answer every exception with a JSON object."""
    app.add_exception_handler(Esm2Error, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(CallerLeft, _left)
    app.add_exception_handler(ClientDisconnect, _left)  # the same, while the body was still coming
    app.add_exception_handler(Exception, _bug)


def body_of(error: Esm2Error, status: int, path: str) -> dict[str, Any]:
    """The body of an error, in the words of the generation that was called."""
    if _of_the_hub(path):
        faults = error.faults if isinstance(error, InvalidRequest) else {}
        return _hub_body(str(error), error.code, status, faults)
    if isinstance(error, InvalidRequest):
        return {"error": error.faults, "code": error.code}
    body = {"error": str(error), "code": error.code}
    # Django REST framework, on which BioLM's API is built, says it under `detail`.
    of_tokens = isinstance(error, Unauthenticated | Forbidden | RateLimited)
    return body | {"detail": str(error)} if of_tokens else body


def _of_the_hub(path: str) -> bool:
    """Whether an address is biolm-hub's; BioLM's own service had other things below v1."""
    return path.startswith("/api/v1/") and not path.startswith(("/api/v1/auth/", "/api/v1/models/"))


def _hub_body(
    sentence: str, code: str, status: int, faults: dict[str, list[str]]
) -> dict[str, Any]:
    """biolm-hub's form: `detail` is the sentence, `errors` the places, `code` as everywhere."""
    errors = [
        {"loc": ["body", *place.split("__")], "msg": message}
        for place, messages in faults.items()
        for message in messages
    ]
    return {"detail": sentence, "errors": errors, "status_code": status, "code": code}


def refusal(error: Esm2Error, path: str, request_id: str = "") -> Response:
    """The reply to an error, in the words of the generation that was called."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    if status == 400 and _of_the_hub(path):
        status = 422
    body = body_of(error, status, path)
    if status >= 500:
        body["request_id"] = request_id
    response = json_response(body, status)
    if status == 408:
        response.headers["Connection"] = "close"  # the rest of the body may still come
    if status == 401:
        response.headers["WWW-Authenticate"] = "Token"
    if isinstance(error, _COME_AGAIN):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, Esm2Error)
    request.state.code = error.code
    response = refusal(error, request.url.path, request.state.request_id)
    if response.status_code >= 500 and not isinstance(error, ShuttingDown):
        _log.error("failed: %s", error)
    return response


async def _http(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown paths and wrong methods."""
    assert isinstance(error, HTTPException)
    path, headers = request.url.path, dict(error.headers or {})
    if error.status_code == 404:
        sentence, code = f"there is nothing at {_cut(path)}; see /docs", "http.not_found"
    elif error.status_code == 405:
        headers["Allow"] = headers.get("Allow", "").replace("GET", "GET, HEAD")
        sentence = f"{_cut(path)} does not answer {_cut(request.method)}; use {headers['Allow']}"
        code = "http.method_not_allowed"
    else:
        sentence, code = str(error.detail), f"http.{error.status_code}"
    request.state.code = code
    body = {"error": sentence, "code": code}
    if _of_the_hub(path):
        body = _hub_body(sentence, code, error.status_code, {})
    response = json_response(body, error.status_code)
    response.headers.update(headers)
    return response


def _cut(text: str) -> str:
    """Of what a caller wrote, no more than can be of use to it."""
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."


async def _left(request: Request, _error: Exception) -> Response:
    """Nobody reads this; 499 is what access logs of proxies call a caller who hung up."""
    request.state.code = "caller.left"
    return Response(status_code=499)


async def _bug(request: Request, error: Exception) -> Response:
    """Our own bug. The server's log has the places; the body tells nothing of the inside."""
    _log.error("a bug: %s", type(error).__name__, exc_info=error)
    own = request.state.request_id
    body = {"error": "the server failed; its log says why", "code": "bug", "request_id": own}
    response = json_response(body, 500)
    response.headers[HEADER] = own
    return response
