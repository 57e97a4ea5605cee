"""A generation of the API: its address and its actions. The routes are the same for all.

    Generation  "/api/v2"     -> one Action each for encode, predict, ...
    Action      body -> requests -> [service] -> outputs -> answer, as JSON or as arrays

`v1.py`, `v2.py`, `v3.py` are values of these types: mappings between their words and ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from esm2.catalog import Shape
from esm2.runtime import Runtime
from esm2.server.body import Rules, read_body
from esm2.server.encoding import arrays_response, json_response, wants_arrays
from esm2.server.openapi import takes
from esm2.server.presence import while_present
from esm2.types import Float, ForwardRequest, Outputs


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be asked of a model.

    Attributes:
        name: last part of the address.
        summary: one sentence for the documentation.
        takes, example: model of the body, and a body that works.
        masks: whether sequences must have no `<mask>`, or some.
        requests: the body -> our requests.
        gives: model of the answer.
        answer: requests and outputs -> the answer, arrays marked with `encoding.numbers`.
        arrays: the same as named float32 arrays, for binary replies.
    """

    name: str
    summary: str
    takes: type[BaseModel]
    example: dict[str, Any]
    masks: Literal["none", "some"]
    requests: Callable[[Any, Shape], list[ForwardRequest]]
    gives: type[BaseModel]
    answer: Callable[[list[ForwardRequest], list[Outputs]], dict[str, Any]]
    arrays: Callable[[list[ForwardRequest], list[Outputs]], dict[str, Float]]


@dataclass(frozen=True, slots=True)
class Generation:
    """A dialect.

    Attributes:
        name: for the documentation.
        prefix: where its addresses begin.
        slash: whether its own documentation ends addresses with one; both are answered.
    """

    name: str
    prefix: str
    slash: bool
    actions: tuple[Action, ...]


def routes(generation: Generation, runtime: Runtime) -> APIRouter:
    """The routes of a generation."""
    router = APIRouter(prefix=f"{generation.prefix}/{{slug}}", tags=[generation.name])
    for action in generation.actions:
        handler = _handler(action, runtime)
        documented, other = f"/{action.name}", f"/{action.name}/"
        if generation.slash:
            documented, other = other, documented
        router.post(
            documented,
            summary=action.summary,
            description="Bodies may be gzip. `Accept: application/x-npz` gives float32 arrays.",
            responses={200: {"model": action.gives, "content": {"application/x-npz": {}}}},
            openapi_extra=takes(action.takes, action.example),
        )(handler)
        # Both spellings are served, never redirected: a redirect would eat the body of a POST.
        router.post(other, include_in_schema=False)(handler)
    return router


def _handler(action: Action, runtime: Runtime) -> Callable[..., Any]:
    async def handle(slug: str, request: Request) -> Response:
        service = runtime.service(slug)
        rules = Rules(service, runtime.settings, action.masks)
        body = await read_body(request, action.takes, rules)
        requests = action.requests(body, service.decided.shape)
        outputs = await while_present(request, service.run(requests))
        if wants_arrays(request.headers.get("accept", "")):
            return arrays_response(action.arrays(requests, outputs), service.decided)
        return json_response(action.answer(requests, outputs), of=service.decided)

    return handle
