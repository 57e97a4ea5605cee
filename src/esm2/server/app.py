"""The HTTP app: a runtime in, an ASGI app out.

/                           the page for people
/api/v2/...                 BioLM's API, one router a generation
/health/live  /health/ready /info   for machines and people who run this
/docs  /openapi.json        for people who call it
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from esm2 import __version__
from esm2.errors import ShuttingDown
from esm2.hosts import is_loopback
from esm2.runtime import Runtime
from esm2.server import errors, openapi
from esm2.server.auth import Gate, permitted
from esm2.server.discovery import add_discovery
from esm2.server.encoding import json_response
from esm2.server.ending import Ending
from esm2.server.foreign import OwnNames
from esm2.server.generation import Serving, routes
from esm2.server.memory import ReplyMemory
from esm2.server.metrics import Metrics
from esm2.server.openapi import WANTS_TOKEN
from esm2.server.page import add_page
from esm2.server.rewriting import Below, Head, Joined
from esm2.server.v1 import V1
from esm2.server.v2 import V2
from esm2.server.v3 import V3
from esm2.server.visits import Visits
from esm2.tokens.rates import Rates
from esm2.types import Decided

#: Newest first: that is the order of the documentation.
GENERATIONS = (V3, V2, V1)

# What a page of an origin that is allowed may send, and what it may read beside the body.
_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": [
        *("Authorization", "Content-Type", "Content-Encoding", "Cache-Control"),
        *("X-ESM2-Timeout", "X-Request-ID"),
    ],
    "expose_headers": [
        *("X-ESM2-Version", "X-ESM2-Model", "X-ESM2-Weights", "X-ESM2-Weights-Kind"),
        *("X-ESM2-Dtype", "X-ESM2-Kernel", "X-ESM2-Cached", "X-ESM2-Warnings"),
        *("X-Request-ID", "Retry-After"),
    ],
}


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """These models just did a real forward pass."""

    status: Literal["ready"] = "ready"
    models: list[str]


class Limits(BaseModel):
    """What this server accepts; beyond it, it refuses."""

    max_items: int
    max_residues: int
    max_body_bytes: int
    queue_tokens: int


class Info(BaseModel):
    """What was decided when this server started."""

    version: str
    versions: dict[str, str]
    limits: Limits
    models: list[Decided]
    parameters: dict[str, int] = Field(description="of each model, by its slug")


def create_app(runtime: Runtime, metrics: Metrics | None = None) -> FastAPI:
    """Put the app together. The runtime stays the caller's to close.

    Args:
        metrics: that have been told of the runtime's passes, if any have.
    """
    settings = runtime.settings
    metrics = metrics or Metrics()
    rates = Rates(settings.limits_storage)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await rates.close()
        if runtime.cache is not None:
            await runtime.cache.close()

    app = FastAPI(
        title="esm2",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    app.add_middleware(Head)
    longest = settings.body_seconds + settings.timeout_seconds + settings.send_seconds
    app.add_middleware(Ending, seconds=longest)
    if settings.allow_origin:
        app.add_middleware(CORSMiddleware, allow_origins=settings.allow_origin, **_CORS)
    if not settings.closed:
        app.add_middleware(OwnNames, hosts=settings.allow_host, origins=settings.allow_origin)
    app.add_middleware(Joined)
    app.add_middleware(Visits, metrics=metrics, stopping=runtime.stopping)
    if settings.root_path:
        app.add_middleware(Below, root=settings.root_path)
    gate = Gate((token.get_secret_value() for token in settings.tokens), runtime.book)
    memory = ReplyMemory(runtime.reply_bytes)
    metrics.follow(runtime.batchers, lambda: memory.held)
    serving = Serving(runtime, gate, rates, memory, metrics)
    add_page(app, runtime, gate)
    add_discovery(app, runtime, gate)
    for generation in GENERATIONS:
        app.include_router(routes(generation, serving))
    _add_health(app, runtime, [Depends(gate)])
    if not settings.admin_port:
        _add_metrics(app, metrics, gate)
    _add_docs(app)
    actions = (action for generation in GENERATIONS for action in generation.actions)
    openapi.describe(app, (action.takes for action in actions), runtime)
    return app


def create_admin_app(runtime: Runtime, metrics: Metrics) -> FastAPI:
    """What is on the admin port: /metrics, /health, /info, for whoever can reach it."""
    app = FastAPI(
        title="esm2 admin",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    app.add_middleware(Head)
    if is_loopback(runtime.settings.admin_host):
        app.add_middleware(OwnNames, hosts=(), origins=())
    # Prometheus's own visits are not counted.
    app.add_middleware(Visits, metrics=Metrics(), stopping=runtime.stopping)
    _add_health(app, runtime, [])
    _add_metrics(app, metrics, None)
    return app


def _add_metrics(app: FastAPI, metrics: Metrics, gate: Gate | None) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def exposition(request: Request) -> Response:
        """For Prometheus. It tells who asks how much, so it is not for everyone who may ask."""
        if gate is not None:
            await gate(request)
            permitted(request, "metrics")
        return metrics.exposition()


def _add_health(app: FastAPI, runtime: Runtime, gates: list[Any]) -> None:
    """
    Args:
        gates: dependencies of what tells how the server is made.
    """
    info = Info(
        version=__version__,
        versions={name: version(name) for name in ("torch", "numpy", "fastapi")},
        limits=Limits(**{name: getattr(runtime.settings, name) for name in Limits.model_fields}),
        models=[service.decided for service in runtime.services.values()],
        parameters={
            slug: service.decided.shape.parameters for slug, service in runtime.services.items()
        },
    )

    @app.get("/health/live", tags=["health"], response_model=Live)
    async def live() -> Response:
        """The process answers."""
        return json_response(Live().model_dump())

    @app.get("/health/ready", tags=["health"], response_model=Ready)
    async def ready() -> Response:
        """Every model computes: one real forward pass each, whose answer is known.

        503 from the moment at which the server is told to stop.
        """
        if runtime.stopping.is_set():
            raise ShuttingDown
        await asyncio.gather(*(service.probe() for service in runtime.services.values()))
        return json_response(Ready(models=list(runtime.services)).model_dump())

    @app.get(
        "/info",
        tags=["health"],
        response_model=Info,
        dependencies=gates,
        openapi_extra=WANTS_TOKEN if gates else None,
    )
    async def information() -> Response:
        """What was decided: versions, limits, and for each model device, dtype, weights."""
        return json_response(info.model_dump())


def _add_docs(app: FastAPI) -> None:
    """Swagger UI from our own host, with relative addresses: no internet, any proxy."""
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="esm2",
            swagger_js_url="swagger/swagger-ui-bundle.js",
            swagger_css_url="swagger/swagger-ui.css",
            swagger_favicon_url="swagger/favicon-32x32.png",
        )
