"""The server on Ray Serve: the HTTP API in front, and a deployment for each model behind it.

    HTTP ──> Front: the app of server.app ──handle──> esm2-650m: Batcher, Worker     replicas come
                                          ──handle──> esm2-8m: Batcher, Worker       and go by load

    serve deploy deploy/ray-serve.yaml        # its import_path is esm2.fleet:app

A replica of a model is what `esm2 serve` has of it: callers take turns, batches are filled by cost,
a batch that fails is split, what died is replaced. Serve places replicas, adds and drains them by
how many requests are on their way, and asks each for its known answer. A request whose replica is
lost is asked of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from esm2 import garbage, settings
from esm2.cache import Cache
from esm2.errors import (
    DeadlineExceeded,
    EngineCrashed,
    Esm2Error,
    ModelUnavailable,
    Overloaded,
    SettingsError,
)
from esm2.loading import parse_specs
from esm2.runtime import open_front, open_runtime
from esm2.server.app import create_app
from esm2.service import Service, Times
from esm2.types import Decided, ForwardRequest, Outputs

#: Requests that a replica takes at once: enough to fill batches from. Beyond, they wait outside.
_ONGOING = 256
_QUEUED = 4096
# Seconds in which some replica has to answer a health check of the front.
_ANSWER = 6.0
# How often a request is computed whose replica is lost each time.
_TRIES = 3
#: Only the front knows tokens, and keeps results.
_FRONTS = {"host": "127.0.0.1", "token_database": "", "cache_mb": 0, "cache_url": ""}
#: What Ray Serve decides.
_NOT_OURS = ("port", "uds", "ray", "workers", "admin_port", "drain_seconds", "grace_seconds")


def app(args: Mapping[str, Any]) -> serve.Application:
    """The application that `serve deploy` and `serve run` build.

    Args:
        args: settings, as in docs/settings.md, by their names; `model` may be a list. `host` is
            where Serve's proxies listen; unless that is this machine alone, tokens are wanted. What
            must not stand in a file comes from the environment, as for `esm2 serve`.

    Raises:
        SettingsError, UnknownModel: they cannot be.
    """
    chosen = _settings(args)
    deployment: Any = serve.deployment
    several = deployment(max_ongoing_requests=_ONGOING, max_queued_requests=_QUEUED)
    behind = {
        spec.slug: several(_Model).options(name=spec.slug).bind(dict(args), str(spec))
        for spec in parse_specs(chosen.model)
    }
    front = deployment(max_ongoing_requests=_QUEUED)(_Front).options(name="front")
    return cast("serve.Application", front.bind(dict(args), behind))


def _settings(args: Mapping[str, Any]) -> settings.Settings:
    for name in args:
        if name in _NOT_OURS or name not in settings.Settings.model_fields:
            known = sorted(set(settings.Settings.model_fields) - set(_NOT_OURS))
            raise SettingsError(f"{name} is not for Ray Serve; args may have {', '.join(known)}")
    return settings.load({"host": "0.0.0.0"} | dict(args))  # noqa: S104  so that it wants tokens


class _Model:
    """A replica of a model."""

    def __init__(self, args: Mapping[str, Any], text: str) -> None:
        self._opened = ExitStack()
        chosen = _settings({**args, **_FRONTS, "model": [text]})
        runtime = self._opened.enter_context(open_runtime(chosen, print, demo=False))
        (self._service,) = runtime.services.values()
        garbage.spare_what_is_there()

    async def decided(self) -> Decided:
        return self._service.decided

    async def run(
        self,
        requests: Sequence[ForwardRequest],
        expected: Decided,
        caller: str,
        seconds: float | None,
    ) -> list[Outputs] | Esm2Error:
        """Outputs, or the error to which they came: with its fields, which Ray would wrap.

        Args:
            expected: what the model is where the request came in.
        """
        try:
            if difference := self._service.decided.unlike(expected):
                raise ModelUnavailable(expected.slug, f"on one of its machines {difference}")
            self._service.check_all(requests)
            return await self._service.run(requests, caller=caller, seconds=seconds)
        except Esm2Error as error:
            return error

    async def check_health(self) -> None:
        await self._service.probe()

    def __del__(self) -> None:
        self._opened.close()


class _Elsewhere(Service):
    """A model whose replicas compute."""

    def __init__(
        self, decided: Decided, handle: DeploymentHandle[Any], cache: Cache | None
    ) -> None:
        super().__init__(decided, _nothing, cache=cache)
        self._handle = handle

    async def run(
        self,
        requests: Sequence[ForwardRequest],
        *,
        caller: str = "",
        seconds: float | None = None,
        times: Times | None = None,  # noqa: ARG002  known where it is computed
    ) -> list[Outputs]:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._answered(requests, caller, seconds)
        except TimeoutError as error:
            raise DeadlineExceeded(seconds or 0.0) from error
        if isinstance(answer, Esm2Error):
            raise answer
        return answer

    async def _answered(
        self, requests: Sequence[ForwardRequest], caller: str, seconds: float | None
    ) -> list[Outputs] | Esm2Error:
        slug = self.decided.slug
        lost = ""
        for _ in range(_TRIES):
            response = self._handle.run.remote(requests, self.decided, caller, seconds)
            try:
                return await response  # type: ignore[no-any-return]
            except asyncio.CancelledError:
                response.cancel()  # type: ignore[no-untyped-call]  # nobody waits any more
                raise
            except RayActorError as error:
                lost = str(error).partition("\n")[0]
            except BackPressureError:
                raise Overloaded(_QUEUED, _QUEUED, unit="requests") from None
            except RayServeException as error:
                raise ModelUnavailable(slug, str(error)) from error
        raise EngineCrashed(slug, lost)

    async def probe(self) -> None:
        """Serve asks each replica for its known answer, and replaces one that has not got it."""
        try:
            async with asyncio.timeout(_ANSWER):
                await self._handle.decided.remote()
        except BackPressureError:
            pass  # who is busy is ready
        except (TimeoutError, RayActorError, RayServeException) as error:
            raise ModelUnavailable(self.decided.slug, "no replica of it answers") from error


def _nothing(*_: Any, **__: Any) -> Any:
    raise AssertionError("replicas compute")


@serve.ingress()
class _Front:
    """A replica of the HTTP API."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, args: Mapping[str, Any], behind: Mapping[str, Any]
    ) -> None:
        decided = {slug: await handle.decided.remote() for slug, handle in behind.items()}

        def services(cache: Cache | None) -> dict[str, Service]:
            return {slug: _Elsewhere(decided[slug], behind[slug], cache) for slug in behind}

        self._opened = ExitStack()
        self._runtime = self._opened.enter_context(open_front(_settings(args), services))
        garbage.spare_what_is_there()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._runtime)

    def __del__(self) -> None:
        self._opened.close()
