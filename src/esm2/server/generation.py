"""A generation of the API: its address and its actions. The routes are the same for all.

    Generation  "/api/v2"     -> one Action each for encode, predict, ...
    Action      body -> Asked: requests -> [service] -> outputs -> answer, as JSON or as arrays

`v1.py`, `v2.py`, `v3.py` are values of these types: mappings between their words and ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from esm2.errors import DeadlineExceeded, DoesNotFit, Esm2Error, InvalidRequest
from esm2.runtime import Runtime
from esm2.server import arrays
from esm2.server.auth import Gate, permitted
from esm2.server.bodies import Asking, Tokens, doubts
from esm2.server.body import Rules, read_body
from esm2.server.encoding import json_pieces, provenance
from esm2.server.memory import ReplyMemory
from esm2.server.metrics import Metrics
from esm2.server.negotiation import JSON, NPZ, SAFETENSORS, Wanted, wanted
from esm2.server.openapi import takes
from esm2.server.presence import while_present
from esm2.server.reply import deliver
from esm2.server.sending import allowed_seconds, cache_use, until_sent
from esm2.service import Service, Times
from esm2.tokens.rates import Rates
from esm2.types import Decided, Float, ForwardRequest, OutputName, Outputs

UntilSent = Annotated[ExitStack, Depends(until_sent)]

_BODIES = (
    "Bodies may be gzip. `Accept: application/x-npz` or `application/vnd.safetensors` gives arrays,"
    " float32, or with `;dtype=float16` behind it float16."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request comes to.

    Attributes:
        requests: for the model.
        answer: their outputs -> the answer, arrays marked with `encoding.numbers`.
        arrays: the same as named float32 arrays, for binary replies.
    """

    requests: list[ForwardRequest]
    answer: Callable[[list[Outputs]], dict[str, Any]]
    arrays: Callable[[list[Outputs]], dict[str, Float]]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be asked of a model.

    Attributes:
        name: last part of the address.
        summary: one sentence for the documentation.
        takes, example: model of the body, which has items with a sequence, and a body that works.
        masks: whether sequences must have no `<mask>`, or some.
        gives: model of the answer.
        asked: a checked body -> what it comes to.
        kinds: outputs that may be asked for by name.
    """

    name: str
    summary: str
    takes: type[Asking]
    example: dict[str, Any]
    masks: Literal["none", "some"]
    gives: type[BaseModel]
    asked: Callable[[Any, Rules], Asked]
    kinds: tuple[OutputName, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Serving:
    """What all routes share.

    Attributes:
        gate: who may ask.
        rates: how much.
        memory: for the outputs of everything that is being answered.
    """

    runtime: Runtime
    gate: Gate
    rates: Rates
    memory: ReplyMemory
    metrics: Metrics


def routes(generation: Generation, serving: Serving) -> APIRouter:
    """The routes of a generation."""
    router = APIRouter(
        prefix=f"{generation.prefix}/{{slug}}",
        tags=[generation.name],
        dependencies=[Depends(serving.gate)],
    )
    for action in generation.actions:
        handler = _handler(action, serving)
        documented, other = f"/{action.name}", f"/{action.name}/"
        if generation.slash:
            documented, other = other, documented
        router.post(
            documented,
            summary=action.summary,
            description=_BODIES,
            responses={200: {"model": action.gives, "content": {NPZ: {}, SAFETENSORS: {}}}},
            openapi_extra=takes(action.takes, action.example),
        )(handler)
        # Both spellings are served, never redirected: a redirect would eat the body of a POST.
        router.post(other, include_in_schema=False)(handler)
    return router


def _handler(action: Action, serving: Serving) -> Callable[..., Any]:
    runtime = serving.runtime

    async def handle(slug: str, request: Request, sent: UntilSent) -> Response:
        how = wanted(request.headers)
        seconds = allowed_seconds(request.headers, runtime.settings.timeout_seconds)
        caller = permitted(request, action.name)
        service = runtime.service(slug)
        rules = Rules(service, runtime.settings, action.name, action.masks, action.kinds)
        body, asked = await read_body(request, action.takes, rules, action.asked)
        _fits(service, asked.requests, [item.sequence for item in body.items])
        serving.memory.check(asked.requests, service.decided.shape)
        charged = residues(asked.requests)
        await serving.rates.charge(caller, charged)
        request.state.model = service.decided.slug
        request.state.passes = len(asked.requests)
        request.state.residues = charged

        request.state.times = times = Times(asked=time.monotonic())

        async def compute() -> tuple[list[Outputs], list[ForwardRequest]]:
            try:
                async with asyncio.timeout(seconds) as time_left:
                    await serving.memory.hold(
                        asked.requests, service.decided.shape, seconds, sent, caller=caller.id
                    )
                    return await service.run_cached(
                        asked.requests,
                        cache_use(request.headers),
                        caller=caller.id,
                        times=times,
                    )
            except TimeoutError as error:
                if not time_left.expired():
                    raise
                raise DeadlineExceeded(seconds) from error

        spared = 0
        try:
            outputs, computed = await while_present(request, compute())
            spared = charged - residues(computed)
        except Esm2Error as error:
            # What was waited for until the deadline was computed in part, as for one who leaves.
            spared = 0 if isinstance(error, DeadlineExceeded) else charged
            raise
        finally:
            await serving.rates.give_back(caller, spared)
            serving.metrics.asked(service.decided.slug, caller.name, charged - spared)
        times.done = time.monotonic()
        made = _pieces(asked, how, service.decided, outputs)
        pieces = serving.metrics.timed(made, action.name)
        headers = provenance(service.decided)
        if warnings := doubts([item.sequence for item in body.items]):
            headers["X-ESM2-Warnings"] = warnings
        if runtime.cache is not None:
            headers["X-ESM2-Cached"] = f"{len(outputs) - len(computed)}/{len(outputs)}"
        return deliver(pieces, how, headers, request)

    return handle


def _fits(service: Service, requests: list[ForwardRequest], sequences: Sequence[Tokens]) -> None:
    """Refuse what this model cannot give.

    Raises:
        InvalidRequest: naming the items that are too long for the memory here.
        ContactsUnavailable, LogitsUnavailable: it has no head for it.
    """
    try:
        service.check_all(requests)
    except DoesNotFit as error:
        sizes = ((number, len(tokens) - 2) for number, tokens in enumerate(sequences))
        faults = {
            f"items__{number}__sequence": [str(DoesNotFit(size, error.longest, error.outputs))]
            for number, size in sizes
            if size > error.longest
        }
        raise InvalidRequest(faults, error.code) from error


def residues(requests: list[ForwardRequest]) -> int:
    """What a request is charged: the residues of all its forward passes."""
    return sum(len(own.tokens) - 2 for own in requests)


def _pieces(asked: Asked, how: Wanted, decided: Decided, outputs: list[Outputs]) -> Iterator[bytes]:
    """The body of the reply.

    Raises:
        BeyondFloat16: at once, not when the pieces are taken.
    """
    if how.media_type == JSON:
        return json_pieces(asked.answer(outputs))
    named: arrays.Arrays = asked.arrays(outputs)
    if how.half:
        named = arrays.halved(named)
    if how.media_type == NPZ:
        return arrays.npz(named)
    return arrays.safetensors(named, provenance(decided))
