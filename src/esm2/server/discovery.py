"""What clients ask about the server itself before, or instead of, asking a model.

    GET  /api/v3/schema/{slug}/{action}/          biolmai, biolm-sdk: how many items, how often
    POST /api/v1/auth/login-check/                every SDK's `status` command
    POST /api/v1/models/{name}/{action}/          biolmai 0.1.2 to 0.1.8: which address works now
    GET  /api/ui/community-api-models/[{slug}/]   biolmai `model list`, `model show`

`biolm hub status` asks `/` (`page.py`); biolm-sdk's hub mode learns the models from /openapi.json
(`openapi.py`).
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Response
from starlette.exceptions import HTTPException

from esm2.errors import ModelNotServed, Moved, UnknownModel
from esm2.runtime import Runtime
from esm2.server.auth import Gate
from esm2.server.bodies import limited
from esm2.server.encoding import json_response
from esm2.server.generation import Action
from esm2.server.v2 import V2
from esm2.server.v3 import V3
from esm2.service import Service
from esm2.settings import Settings
from esm2.types import Decided


def add_discovery(app: FastAPI, runtime: Runtime, gate: Gate) -> None:
    """Add these routes; they come before the generations, whose addresses would swallow them."""
    router = APIRouter(include_in_schema=False)

    @router.post("/api/v1/auth/login-check/", dependencies=[Depends(gate)])
    @router.post("/api/v1/auth/login-check", dependencies=[Depends(gate)])
    async def login_check() -> Response:
        # Any body without `code` means to the SDKs that the token is good.
        return json_response({"status": "ok"})

    @router.get("/api/v3/schema/{slug}/{name}/")
    @router.get("/api/v3/schema/{slug}/{name}")
    async def schema(slug: str, name: str) -> Response:
        service = runtime.service(slug)
        action = next((action for action in V3.actions if action.name == name), None)
        if action is None:
            raise HTTPException(404)
        return json_response(_schema(action, runtime.settings, service.decided))

    @router.get("/api/ui/community-api-models/")
    async def models() -> Response:
        return json_response([_model(service) for service in runtime.services.values()])

    @router.get("/api/ui/community-api-models/{slug}/")
    async def model(slug: str) -> Response:
        return json_response(_model(runtime.service(slug)))

    @router.api_route("/api/v1/models/{name}/{action}/", methods=["GET", "POST"])
    @router.api_route("/api/v1/models/{name}/{action}", methods=["GET", "POST"])
    async def older(name: str, action: str) -> Response:
        raise Moved(_v2_address(name, action, runtime))

    app.include_router(router)


def _v2_address(name: str, action: str, runtime: Runtime) -> str:
    """Where v2 answers what the API before it did, under the name of the same model."""
    try:
        slug = runtime.service(name).decided.slug
    except (UnknownModel, ModelNotServed):
        slug = "SLUG"
    return f"{V2.prefix}/{slug}/{'predict' if action == 'predict' else 'encode'}/"


def _schema(action: Action, settings: Settings, model: Decided) -> dict[str, Any]:
    """The JSON schema of a body with this server's limits in it.

    `throttle_rate` must be null or "N/second", "N/minute": the SDKs fail on anything else.
    """
    schema = action.takes.model_json_schema()
    limited({**schema["$defs"], "body": schema}, settings, [model])
    return schema | {"throttle_rate": None}


def _model(service: Service) -> dict[str, Any]:
    decided = service.decided
    return {
        "model_slug": decided.slug,
        "model_name": decided.slug.upper(),
        "description": f"ESM-2, {decided.shape.layers} layers, {decided.shape.dim} dimensions",
        "encoder": True,
        "predictor": True,
        "generator": False,
        "actions": [action.name for action in V3.actions],
    }
