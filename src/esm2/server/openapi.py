"""/openapi.json and /docs: what FastAPI derives from the routes, and what it cannot see.

Bodies are read by `body.py`, not by FastAPI, so the routes declare them with `takes` and their
models are added to the components here, with this server's own limits.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from esm2 import __version__
from esm2.runtime import Runtime

_REFERENCE = "#/components/schemas/{model}"

_REFUSED = {
    "description": "refused; `code` says why in a word that never changes, `error` in a sentence"
    " (for a faulty body: place -> sentences)",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error", "code"],
                "properties": {
                    "error": {"anyOf": [{"type": "string"}, {"type": "object"}]},
                    "code": {"type": "string"},
                },
            }
        }
    },
}
_REFUSALS = ("400", "401", "404", "413", "415", "429", "500", "503")
_REFUSAL = {"$ref": "#/components/responses/Refused"}

_DESCRIPTION = (
    "Self-hosted ESM-2 inference that answers the clients of BioLM's ESM-2 API."
    " Not affiliated with Meta or BioLM."
)


def takes(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """For `openapi_extra`: this operation is sent that model as JSON, plain or gzip."""
    sent = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}, "example": example}
    return {
        "requestBody": {"required": True, "content": {"application/json": sent}},
        "responses": dict.fromkeys(_REFUSALS, _REFUSAL),
        "security": [{"Token": []}],
    }


def describe(app: FastAPI, bodies: list[type[BaseModel]], runtime: Runtime) -> None:
    """Make `app.openapi()` describe every route, body, answer, refusal, limit and model."""

    def openapi() -> dict[str, Any]:
        document = get_openapi(
            title="esm2", version=__version__, description=_DESCRIPTION, routes=app.routes
        )
        _, definitions = models_json_schema(
            [(body, "validation") for body in bodies], ref_template=_REFERENCE
        )
        schemas = definitions["$defs"]
        for body in bodies:
            schemas[body.__name__]["properties"]["items"]["maxItems"] = runtime.settings.max_items
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)  # FastAPI's own, which we never send
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "slug":
                        parameter["schema"]["examples"] = list(runtime.services)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas)
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        components["responses"] = {"Refused": _REFUSED}
        components["securitySchemes"] = {
            "Token": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "`Token YOUR_TOKEN` or `Bearer YOUR_TOKEN`; not needed when the"
                " server has no tokens",
            }
        }
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
