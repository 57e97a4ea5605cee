"""Middleware around everything: a request's id, its line in the log, its place in the metrics.

    request  -> id (the caller's, if it is a decent one) -> app -> status, code -> log, metrics

What a route knows of a request (model, passes, residues, caller) it leaves in `request.state`; the
code of an error is left there by `errors.py`. A connection that breaks off a request says so there,
and what never became one is told to `note_refused`.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from esm2.server import logs
from esm2.server.metrics import Metrics
from esm2.service import Times

HEADER = "X-Request-ID"
_DECENT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OTHER = "other"
#: In the state of a request that its connection refused when it had begun: id, status and code.
REFUSED = "refused"


class Visits:
    """The middleware.

    Args:
        metrics: where requests are counted.
        stopping: set when the server is to end; from then on every reply says that its connection
            closes, so that no caller sends another request on it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, stopping: threading.Event) -> None:
        self._app = app
        self._metrics = metrics
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        request_id, *_ = state.get(REFUSED) or [_id(Headers(scope=scope).get(HEADER))]
        state["request_id"] = request_id
        logs.REQUEST_ID.set(request_id)
        begun, status, whole, method = time.perf_counter(), 0, False, scope["method"]

        async def noted(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.body":
                whole = not message.get("more_body", False)
            else:
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                if self._stopping.is_set():
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            status, state["code"] = 500, "bug"
            raise
        finally:
            if REFUSED in state:
                _, status, state["code"] = state[REFUSED]
            elif not whole:  # the caller left in the middle of it, or was cut
                state.setdefault("code", "reply.cut")
            self._note(scope, state, method, status, time.perf_counter() - begun)

    def _note(
        self, scope: Scope, state: dict[str, Any], method: str, status: int, seconds: float
    ) -> None:
        route = getattr(scope.get("route"), "path", _OTHER)
        action = _action(route)
        code = state.get("code", "")
        self._metrics.answered(action, status, code, seconds)
        caller = state.get("caller")
        logs.log_request(
            {
                "method": method if method in _METHODS else _OTHER,
                "route": route,
                "status": status,
                **({"code": code} if code else {}),
                **({"caller": caller.name} if caller else {}),
                **{name: state[name] for name in ("model", "passes", "residues") if name in state},
                "seconds": round(seconds, 6),
                **(_parts(state["times"]) if "times" in state else {}),
            }
        )


def note_refused(metrics: Metrics, request_id: str, status: int, code: str) -> None:
    """Note what never became a request."""
    token = logs.REQUEST_ID.set(request_id)
    metrics.answered(_OTHER, status, code, 0.0)
    logs.log_request({"method": _OTHER, "route": _OTHER, "status": status, "code": code})
    logs.REQUEST_ID.reset(token)


def _action(route: str) -> str:
    """What is asked of a model, in whatever generation; of all else, the address."""
    return route.rstrip("/").rpartition("/")[2] if "{slug}" in route else route


def _parts(times: Times) -> dict[str, float]:
    """Of a question that has its answer now: milliseconds in the queue, in the engine, after it."""
    if not times.done:
        return {}
    begun = times.begun or times.done
    parts = {
        "queue_ms": begun - times.asked,
        "engine_ms": times.done - begun,
        "writing_ms": time.monotonic() - times.done,
    }
    return {name: round(1000 * seconds, 1) for name, seconds in parts.items()}


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _id(sent: str | None) -> str:
    """The caller's own id, if it is a decent one; a sequence of 20 letters and more is not."""
    if sent and _DECENT.fullmatch(sent) and not re.fullmatch(r"[A-Z]{20,}", sent):
        return sent
    return uuid.uuid4().hex
