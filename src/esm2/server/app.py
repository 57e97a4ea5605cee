"""The HTTP app: a runtime in, an ASGI app out.

/api/v2/...                 BioLM's API, one router a generation
/health/live  /health/ready /info   for machines and people who run this
/docs  /openapi.json        for people who call it
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi_swagger import patch_fastapi

from esm2 import __version__
from esm2.runtime import Runtime
from esm2.server import errors, openapi, v2
from esm2.server.auth import Gate
from esm2.server.encoding import json_response


def create_app(runtime: Runtime) -> FastAPI:
    """Put the app together. The runtime stays the caller's to close."""
    app = FastAPI(
        title="esm2",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    gate = Gate(token.get_secret_value() for token in runtime.settings.tokens)
    app.include_router(v2.routes(runtime), dependencies=[Depends(gate)])
    _add_health(app, runtime)
    openapi.describe(app, [v2.EncodeBody, v2.PredictBody], runtime)
    # Swagger UI from our own host: the page works without internet.
    patch_fastapi(app, redirect_from_root_to_docs=False)
    return app


def _add_health(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/health/live", tags=["health"])
    async def live() -> Response:
        """The process answers."""
        return json_response({"status": "live"})

    @app.get("/health/ready", tags=["health"])
    async def ready() -> Response:
        """Every model computes: one real forward pass each, ahead of the queue."""
        services = runtime.services.items()
        await asyncio.gather(*(service.probe() for _, service in services))
        return json_response({"status": "ready", "models": [slug for slug, _ in services]})

    @app.get("/info", tags=["health"])
    async def info() -> Response:
        """What was decided: versions, limits, and for each model device, dtype, weights."""
        return json_response(_info(runtime))


def _info(runtime: Runtime) -> dict[str, Any]:
    settings = runtime.settings
    return {
        "version": __version__,
        "versions": {name: version(name) for name in ("torch", "numpy", "fastapi")},
        "limits": {
            "max_items": settings.max_items,
            "max_residues": settings.max_residues,
            "max_body_bytes": settings.max_body_bytes,
            "queue_tokens": settings.queue_tokens,
        },
        "models": [asdict(service.decided) for service in runtime.services.values()],
    }
