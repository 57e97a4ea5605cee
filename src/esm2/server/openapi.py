"""/openapi.json and /docs: what FastAPI derives from the routes, and what it cannot see.

Bodies are read by `body.py`, not by FastAPI, so the routes declare them with `takes` and their
models are added to the components here, with this server's own limits:

    EncodeBody  Layer ...              v2, v3   of any model: addresses are templates
    my-slug.EncodeBody ...             v1       of one model: biolm-sdk reads addresses literally;
                                                only where it allows less than that of any model
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from esm2 import __version__
from esm2.runtime import Runtime
from esm2.server.bodies import limited
from esm2.settings import Settings
from esm2.types import Decided

_REFERENCE = "#/components/schemas/{model}"
_SCHEMAS = _REFERENCE.format(model="")


def _header(sentence: str, *, always: bool = True) -> dict[str, Any]:
    return {"description": sentence, "required": always, "schema": {"type": "string"}}


_VERSION = {"X-ESM2-Version": _header("version of the server")}
_PROVENANCE = _VERSION | {
    "X-ESM2-Model": _header("slug of the model that answered"),
    "X-ESM2-Weights": _header("sha256 of its weights"),
    "X-ESM2-Weights-Kind": _header("official, demo or custom"),
    "X-ESM2-Dtype": _header("dtype of the arithmetic"),
    "X-ESM2-Kernel": _header("what computed: a native instruction set, or torch"),
    "X-ESM2-Warnings": _header(
        "items, counted from 0, that are hardly proteins, and why; they are answered all the same",
        always=False,
    ),
}

_WHY = "refused; `code` says why in a word that never changes"


def _refused(fields: dict[str, Any], sentence: str) -> dict[str, Any]:
    schema = {"type": "object", "required": list(fields), "properties": fields}
    return {
        "description": f"{_WHY}, {sentence}",
        "headers": _VERSION,
        "content": {"application/json": {"schema": schema}},
    }


_REFUSALS = {
    "Refused": _refused(
        {
            "error": {"anyOf": [{"type": "string"}, {"type": "object"}]},
            "code": {"type": "string"},
        },
        "`error` in a sentence (for a faulty body: place -> sentences)",
    ),
    "RefusedByHub": _refused(
        {
            "detail": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "object"}},
            "status_code": {"type": "integer"},
            "code": {"type": "string"},
        },
        "`detail` in a sentence, `errors` place by place",
    ),
}
_STATUSES = ["400", "401", "403", "404", "406", "408", "413", "415", "429", "500", "503", "504"]

_DESCRIPTION = (
    "Self-hosted ESM-2 inference that answers the clients of BioLM's ESM-2 API."
    " Not affiliated with Meta or BioLM."
)


def takes(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """For `openapi_extra`: this operation is sent that model as JSON, plain or gzip."""
    sent = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}, "example": example}
    return {
        "requestBody": {"required": True, "content": {"application/json": sent}},
        "responses": dict.fromkeys(_STATUSES, _refusal("Refused")),
        "security": [{"Token": []}],
    }


#: For `openapi_extra`: this operation is sent nothing, but wants a token.
WANTS_TOKEN: dict[str, Any] = {
    "responses": {
        status: {"$ref": "#/components/responses/Refused"} for status in ("401", "403", "503")
    },
    "security": [{"Token": []}],
}


def _refusal(form: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{form}"}


def describe(app: FastAPI, bodies: Iterable[type[BaseModel]], runtime: Runtime) -> None:
    """Make `app.openapi()` describe every route, body, answer, refusal, limit and model."""
    bodies = sorted(set(bodies), key=str)
    models = [service.decided for service in runtime.services.values()]

    @functools.cache
    def openapi() -> dict[str, Any]:
        document = get_openapi(
            title="esm2", version=__version__, description=_DESCRIPTION, routes=app.routes
        )
        # Where this document is: behind a proxy, below its path.
        document["servers"] = [{"url": "."}]
        schemas = _body_schemas(bodies, runtime.settings, models)
        for model in models:
            own = _body_schemas(bodies, runtime.settings, [model])
            schemas |= _differing(own, schemas, model.slug)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)  # FastAPI's own, which we never send
                of_a_model = "requestBody" in operation
                operation["responses"]["200"]["headers"] = _PROVENANCE if of_a_model else _VERSION
        document["paths"] = _with_slugs(
            document["paths"], [model.slug for model in models], schemas
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas)
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        components["responses"] = _REFUSALS
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


def _body_schemas(
    bodies: Iterable[type[BaseModel]], settings: Settings, models: list[Decided]
) -> dict[str, Any]:
    """The schemas of all bodies as these models take them."""
    _, definitions = models_json_schema(
        [(body, "validation") for body in bodies], ref_template=_REFERENCE
    )
    return limited(definitions["$defs"], settings, models)


def _differing(own: dict[str, Any], shared: dict[str, Any], slug: str) -> dict[str, Any]:
    """The schemas of one model that are not those of any model, each with its slug in front.

    A schema differs also where one that it refers to does.
    """
    names = {name for name in own if own[name] != shared[name]}
    while more := {n for n in own.keys() - names if names & set(_references(own[n]))}:
        names |= more
    return {f"{slug}.{name}": _renamed(own[name], names, slug) for name in sorted(names)}


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (value.removeprefix(_SCHEMAS) for key, value in schema.items() if key == "$ref")
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        yield from _references(part)


def _renamed(schema: Any, names: Collection[str], slug: str) -> Any:
    """The same, its references to some schemas changed to those of a model."""
    if isinstance(schema, list):
        return [_renamed(part, names, slug) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _renamed(value, names, slug) for key, value in schema.items()}
    if (name := str(schema.get("$ref", "")).removeprefix(_SCHEMAS)) in names:
        renamed["$ref"] = f"{_SCHEMAS}{slug}.{name}"
    return renamed


def _with_slugs(
    paths: dict[str, Any], slugs: list[str], schemas: Collection[str]
) -> dict[str, Any]:
    """Name the models that are served.

    v1 gets an address for each: biolm-sdk's hub mode reads the models out of the addresses, and
    takes `{slug}` for the name of one.
    """
    named: dict[str, Any] = {}
    for path, operations in paths.items():
        if not path.startswith("/api/v1/"):
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "slug":
                        parameter["schema"]["examples"] = slugs
                        parameter["example"] = slugs[0]  # what /docs fills in
            named[path] = operations
            continue
        for slug in slugs:
            own = copy.deepcopy(operations)
            for operation in own.values():
                operation["operationId"] += f"_{slug}"
                operation.pop("parameters", None)
                body = operation["requestBody"]["content"]["application/json"]
                body["schema"] = _renamed(
                    body["schema"],
                    [
                        name.removeprefix(f"{slug}.")
                        for name in schemas
                        if name.startswith(f"{slug}.")
                    ],
                    slug,
                )
                statuses = [{"400": "422"}.get(status, status) for status in _STATUSES]
                operation["responses"] = {"200": operation["responses"]["200"]} | dict.fromkeys(
                    statuses, _refusal("RefusedByHub")
                )
            named[path.replace("{slug}", slug)] = own
    return named
