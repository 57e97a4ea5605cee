"""The app in this process over models that are functions, and an ASGI caller.

app = app_over(lambda requests: [...])
await call(app, "POST", "/api/v2/esm2-demo/encode/", b'{"items": ...}')
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI

from esm2.catalog import DEMO_SLUG, Shape
from esm2.runtime import Runtime
from esm2.server.app import create_app
from esm2.service import Service
from esm2.settings import Settings
from esm2.types import Decided, ForwardRequest, Outputs

# Seconds until a call that never ends fails its test.
_PATIENCE = 10

SHAPE = Shape(layers=2, dim=4, heads=2)
PATH = f"/api/v2/{DEMO_SLUG}"

DECIDED = Decided(
    slug=DEMO_SLUG,
    shape=SHAPE,
    device="none",
    dtype="float32",
    kernel="fake",
    weights_sha256="0" * 64,
    weights_kind="demo",
    contacts=True,
    pack_tokens=4096,
    threads=0,
)


def ones(request: ForwardRequest) -> Outputs:
    """Outputs of the right shapes, every number 1."""
    want, residues = request.want, len(request.tokens) - 2

    def by_layer(wanted: bool, *shape: int) -> dict[int, Any]:
        return dict.fromkeys(want.layers, np.ones(shape, np.float32)) if wanted else {}

    return Outputs(
        mean=by_layer(want.mean, SHAPE.dim),
        per_token=by_layer(want.per_token, residues, SHAPE.dim),
        bos=by_layer(want.bos, SHAPE.dim),
        logits=np.ones((residues, 33), np.float32) if want.logits else None,
        contacts=np.ones((residues, residues), np.float32) if want.contacts else None,
        attentions=np.ones((SHAPE.layers, residues), np.float32) if want.attentions else None,
    )


def at_once(compute: Callable[[ForwardRequest], Outputs]) -> Callable[..., Future[Outputs]]:
    """A `submit` that computes without a queue."""

    def submit(
        request: ForwardRequest, *, first: bool = False, caller: str = ""
    ) -> Future[Outputs]:
        future: Future[Outputs] = Future()
        try:
            future.set_result(compute(request))
        except Exception as error:
            future.set_exception(error)
        return future

    return submit


def app_over(submit: Callable[..., Future[Outputs]], **given: Any) -> FastAPI:
    """A server with the default limits and one model, open unless other settings are given."""
    settings = Settings.model_construct(**{"max_body_bytes": 1 << 16, **given})
    return create_app(Runtime(settings, {DEMO_SLUG: Service(DECIDED, submit)}))


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @classmethod
    def of(cls, messages: list[dict[str, Any]]) -> Reply:
        """A reply out of what an app sent."""
        start, *rest = messages
        return cls(
            start["status"],
            {key.decode(): value.decode() for key, value in start["headers"]},
            b"".join(message.get("body", b"") for message in rest),
        )


async def call(
    app: FastAPI,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    whole: bool = True,
    receive_more: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    sent: list[dict[str, Any]] | None = None,
) -> Reply:
    """One request, straight into the app; an exception that leaves the app is raised.

    Args:
        whole: whether the body ends there.
        receive_more: awaited for what comes after the body; by default nothing ever does.
        sent: filled with what the app sends, for the case that it raises after that.
    """
    sent = [] if sent is None else sent
    waiting = [{"type": "http.request", "body": body, "more_body": not whole}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        return await (receive_more() if receive_more else asyncio.Future())

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
        "server": ("localhost", 80),
        "client": ("localhost", 1),
        "state": {"request_id": "of-a-test"},
    }
    async with asyncio.timeout(_PATIENCE):
        await app(scope, receive, send)
    return Reply.of(sent)
