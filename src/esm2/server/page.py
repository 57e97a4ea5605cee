"""The page for people, out of files that are in the package; what it asks, any client may ask.

    GET  /           the page to a browser; to programs (`biolm hub status`) that it is up
    GET  /models     the same page, at what is loaded
    GET  /ui/...     its script, style and icon
    GET  /status     what the models are doing now

It is built from `ui/` of the repository (npm run build) under fixed names, so its files are
revalidated each time. Nothing on it comes from elsewhere, and nothing is sent elsewhere.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from esm2 import __version__
from esm2.batcher import Batcher
from esm2.runtime import Runtime
from esm2.server.auth import Gate
from esm2.server.encoding import json_response
from esm2.server.negotiation import accepts_gzip, wants_page
from esm2.server.openapi import WANTS_TOKEN

# Nightingale's elements have style attributes in their templates.
_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self';"
    " style-src-attr 'unsafe-inline'; img-src 'self' data:; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-cache",
    "Vary": "Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-ESM2-Version": __version__,
}


class ModelNow(BaseModel):
    """What a model is doing now."""

    slug: str
    waiting_tokens: int = Field(description="cost that waits, in tokens")
    oldest_seconds: float = Field(description="what the oldest request has waited")
    busy_workers: int = Field(description="forward passes that are being computed")
    tokens_per_second: float = Field(
        description="of the recent past, while computing; 0 when nothing was measured"
    )


class Status(BaseModel):
    """What the models are doing now."""

    models: list[ModelNow]


@dataclass(frozen=True, slots=True)
class _File:
    plain: bytes
    gzipped: bytes
    media_type: str
    tag: str

    def response(self, request: Request, headers: Mapping[str, str]) -> Response:
        own = {**_HEADERS, **headers, "ETag": self.tag}
        known = request.headers.get("if-none-match", "").split(",")
        if {self.tag, "*"} & {tag.strip().removeprefix("W/") for tag in known}:
            return Response(status_code=304, headers=own)
        if accepts_gzip(request.headers):
            own["Content-Encoding"] = "gzip"
            return Response(self.gzipped, headers=own, media_type=self.media_type)
        return Response(self.plain, headers=own, media_type=self.media_type)


def add_page(app: FastAPI, runtime: Runtime, gate: Gate) -> None:
    """Add the page and what only it asks."""
    place = files("esm2.server") / "ui"
    page = _read(place / "index.html")
    parts = {part.name: _read(part) for part in (place / "ui").iterdir()}
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def root(request: Request) -> Response:
        if wants_page(request.headers):
            return page.response(request, {"Content-Security-Policy": _POLICY})
        message = f"esm2 {__version__}; /docs says what can be asked"
        reply = json_response({"status": "ok", "message": message})
        reply.headers["Vary"] = "Accept"
        return reply

    @router.get("/models")
    async def models(request: Request) -> Response:
        return page.response(request, {"Content-Security-Policy": _POLICY})

    @router.get("/ui/{name}")
    async def part(name: str, request: Request) -> Response:
        if name not in parts:
            raise HTTPException(404)
        return parts[name].response(request, {})

    app.include_router(router)

    @app.get(
        "/status",
        tags=["health"],
        response_model=Status,
        dependencies=[Depends(gate)],
        openapi_extra=WANTS_TOKEN,
    )
    async def status() -> Response:
        """What the models are doing now: what waits, what is computed, how fast."""
        now = [_now(slug, batcher) for slug, batcher in runtime.batchers.items()]
        return json_response(Status(models=now).model_dump())


def _now(slug: str, batcher: Batcher) -> ModelNow:
    return ModelNow(
        slug=slug,
        waiting_tokens=batcher.queued,
        oldest_seconds=batcher.age,
        busy_workers=len(batcher.running()),
        tokens_per_second=batcher.tokens_per_second,
    )


def _read(file: Traversable) -> _File:
    plain = file.read_bytes()
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
    return _File(plain, gzip.compress(plain, 9, mtime=0), media_type, tag)
