"""Listening: uvicorn as we want it, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from esm2 import garbage
from esm2.cli import descriptors, stacks
from esm2.cli.connections import guarded, patience
from esm2.runtime import Runtime
from esm2.server import logs
from esm2.server.app import create_admin_app, create_app
from esm2.server.metrics import Metrics
from esm2.server.visits import note_refused
from esm2.settings import Settings

# BioLM's SDKs keep connections for 65 s and take a closed one for a failure.
_KEEP_ALIVE = 75
# For whoever watches a server that is full.
_ADMIN_CONNECTIONS = 16


def serve(
    runtime: Runtime,
    metrics: Metrics,
    listener: socket.socket,
    admin: socket.socket | None,
    announce: Callable[[], None],
) -> None:
    """Serve until a signal ends it.

    Args:
        metrics: that have been told of the runtime's passes.
        admin: where /metrics and health are, if not on the main port.
        announce: called when the port answers.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
    """
    settings = runtime.settings
    logs.configure(settings.log_level, settings.log_format)
    server = Server(create_app(runtime, metrics), runtime, metrics, announce)
    if admin is not None:
        server.beside(create_admin_app(runtime, metrics), admin)
    server.run(sockets=[listener])
    if server.interrupted:
        raise KeyboardInterrupt


class Server(uvicorn.Server):
    """The server of an app; on SIGTERM it is not ready at once, and ends when nothing is left.

    Args:
        runtime: told that it is stopping.
        metrics: where what never became a request is counted.
        announce: called when the port answers.
    """

    def __init__(
        self, app: ASGIApp, runtime: Runtime, metrics: Metrics, announce: Callable[[], None]
    ) -> None:
        settings = runtime.settings
        beside = _ADMIN_CONNECTIONS if settings.admin_port else 0
        most = descriptors.connections(settings.max_connections + beside)
        self._refused = partial(note_refused, metrics)
        self._kind = guarded(patience(settings, max(1, most - beside)), self._refused)
        super().__init__(_config(app, self._kind, settings))
        self._runtime = runtime
        self._announce = announce
        self._admin: tuple[uvicorn.Server, socket.socket] | None = None
        self._serving: asyncio.Task[None] | None = None
        self.interrupted = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """From the first byte to the end of the process: what comes late must not break the end."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)

    def beside(self, app: ASGIApp, listener: socket.socket) -> None:
        """Serve another app at another port, as long as this one is served."""
        settings = self._runtime.settings
        kind = guarded(patience(settings, _ADMIN_CONNECTIONS), self._refused)
        config = _config(app, kind, settings)
        self._admin = (_Beside(config), listener)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not ready from now on; what has begun is finished, and new connections wait."""
        self.interrupted |= sig == signal.SIGINT
        first = not self._runtime.stopping.is_set()
        self._runtime.stopping.set()
        drain = self._runtime.settings.drain_seconds
        if first and sig == signal.SIGTERM and drain:
            timer = threading.Timer(drain, super().handle_exit, (sig, frame))
            timer.daemon = True
            timer.start()
        else:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the ports and say so."""
        await super().startup(sockets)
        if self.should_exit:
            return
        for listening in sockets or []:
            listening.listen(descriptors.WAITING)
        if self._admin is not None:
            server, listener = self._admin
            self._serving = asyncio.create_task(server.serve([listener]))
        stacks.dump_on_signal(self._runtime.tell)
        garbage.spare_what_is_there()
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what has begun; the other port last, so that one can watch.

        Connections that wait to be accepted would be reset when the port closes: they are taken
        at the last moment, and answered.
        """
        late = [connection for listener in sockets or [] for connection in _waiting(listener)]
        taken = asyncio.create_task(self._take(late))
        await super().shutdown(sockets)  # closes the port before anything else happens
        if self.force_exit:  # which leaves this out, and uvicorn then logs a traceback of it
            await self.lifespan.shutdown()
        await taken
        if self._admin is not None and self._serving is not None:
            self._admin[0].should_exit = True
            await self._serving

    async def _take(self, late: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for connection in late:
            _, protocol = await loop.connect_accepted_socket(self._protocol, connection)
            protocol.shutdown()  # when it has its answer, or soon

    def _protocol(self) -> H11Protocol:
        return self._kind(self.config, self.server_state, self.lifespan.state)


def _waiting(listener: socket.socket) -> list[socket.socket]:
    """The connections that nobody has accepted yet."""
    found = []
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            found.append(connection)
    return found


class _Beside(uvicorn.Server):
    """Signals are the other one's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp, kind: type[H11Protocol], settings: Settings) -> uvicorn.Config:
    proxies = list(settings.trust_proxy)
    return uvicorn.Config(
        app,
        http=kind,
        ws="none",
        log_config=None,
        # Its warnings are of callers who speak no HTTP; they have their answer.
        log_level="error",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE,
        backlog=descriptors.ACCEPTED_AT_ONCE,
        timeout_graceful_shutdown=settings.grace_seconds,
        server_header=False,
        # Who is asking is who is connected, whatever a header says, unless a proxy is named.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
    )
