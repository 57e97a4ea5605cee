"""Connections that may cost us only so much: how many, how slow, how long.

Built on uvicorn's h11 protocol, which is strict about what is HTTP. What it leaves open is closed
here: headers that never end, readers who do not read, and more connections than there are files.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import struct
import termios
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from esm2 import __version__
from esm2.cli.descriptors import Refused
from esm2.server.visits import HEADER, REFUSED
from esm2.settings import Settings

_log = logging.getLogger("esm2.server")

# Seconds that a connection without a request gets when the server ends.
_ON_ITS_WAY = 0.2
# Bytes that a reader takes at least in the time that it has; the system moves so many at once.
_LEAST = 1 << 14


@dataclass(frozen=True, slots=True)
class Patience:
    """What a connection may take.

    Attributes:
        connections: at once; a further one is closed.
        header_seconds: from the connection, or the first byte of a further request, to the end of
            the headers.
        send_seconds: in which the caller takes less than 16 KB of its reply, or of its rest.
    """

    connections: int
    header_seconds: float
    send_seconds: float


def patience(settings: Settings, connections: int) -> Patience:
    """As the settings have it, with as many connections as there can be."""
    return Patience(connections, settings.header_seconds, settings.send_seconds)


def guarded(patience: Patience, told: Callable[[str, int, str], None]) -> type[H11Protocol]:
    """A protocol for `uvicorn.Config(http=...)`.

    Args:
        told: of what is refused and never became a request: its id, status and code.
    """
    refused = Refused(patience.connections)

    class Guarded(H11Protocol):
        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, app_state, _loop)
            self._header_timer: asyncio.TimerHandle | None = None
            self._send_timer: asyncio.TimerHandle | None = None
            self._unsent = 0
            self._last = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # Who comes over a Unix socket has no address; by this name it can be a trusted proxy.
            self.client = self.client or ("unix", 0)
            if len(self.connections) > patience.connections:
                refused.one_more()
                self.transport.abort()
                return
            self._await_headers()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            if self._header_timer is None and (before is None or before.response_complete):
                self._await_headers()
            try:
                super().data_received(data)
            except h11.LocalProtocolError:
                # Nonsense after a request that is being answered: there is no way to say so.
                self.transport.abort()
            if self.cycle is not before:
                self._have_headers()
                if self._last:
                    self.cycle.keep_alive = False

        def shutdown(self) -> None:
            """End when nothing is left to answer; a request may be on its way at this moment."""
            if self.cycle is None or self.cycle.response_complete:
                self._last = True
                self.loop.call_later(_ON_ITS_WAY, self._end)
            else:
                super().shutdown()

        def _end(self) -> None:
            if not self.transport.is_closing():
                super().shutdown()
                self._cut_if_ending()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._await_reader()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._have_sent()
            self._cut_if_ending()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._cut_if_ending()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._cut_if_ending()

        def _cut_if_ending(self) -> None:
            """A connection that is to close waits for its reader, but not for ever."""
            if self.transport.is_closing():
                self._await_reader()

        def _await_reader(self) -> None:
            if self._send_timer is None:
                self._unsent = _unsent(self.transport)
                self._send_timer = self.loop.call_later(patience.send_seconds, self._cut_if_idle)

        def _cut_if_idle(self) -> None:
            """Cut a caller who does not read; nothing more is written for one who is waited for."""
            self._send_timer = None
            taken, seconds = self._unsent - _unsent(self.transport), patience.send_seconds
            if taken >= _LEAST:
                self._await_reader()
                return
            _log.info("a caller took %d bytes of its reply in %g s and is cut off", taken, seconds)
            self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._have_headers()
            self._have_sent()
            super().connection_lost(exc)

        def _await_headers(self) -> None:
            self._header_timer = self.loop.call_later(patience.header_seconds, self._too_slow)

        def _have_headers(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _have_sent(self) -> None:
            if self._send_timer is not None:
                self._send_timer.cancel()
                self._send_timer = None

        def _too_slow(self) -> None:
            self._header_timer = None
            seconds = f"{patience.header_seconds:g} seconds"
            sentence = f"the headers were not all there after {seconds}; send the request again"
            self._refuse(408, "http.header_timeout", sentence)

        def send_400_response(self, _msg: str) -> None:
            sentence = (
                "this is not HTTP/1.1 as RFC 9112 has it, or its headers are too long; look at the"
                " request line, the headers and the length of the body"
            )
            self._refuse(400, "http.malformed", sentence)

        def _refuse(self, status: int, code: str, sentence: str) -> None:
            """A refusal of what never became a request, in the form of all others."""
            cycle, request_id = self.cycle, uuid.uuid4().hex
            if cycle is None or cycle.response_complete:
                told(request_id, status, code)
            else:
                state = cycle.scope.setdefault("state", {})
                request_id = state.get("request_id", request_id)
                if not cycle.response_started:
                    state[REFUSED] = request_id, status, code
            body = json.dumps({"error": sentence, "code": code}).encode()
            headers = {
                HEADER: request_id,
                "content-type": "application/json",
                "content-length": str(len(body)),
                "connection": "close",
                "x-esm2-version": __version__,
            }
            begin = h11.Response(
                status_code=status, headers=list(headers.items()), reason=HTTPStatus(status).phrase
            )
            with suppress(h11.LocalProtocolError):  # an answer has begun: nothing can be said
                for event in (begin, h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()
            self._cut_if_ending()

    return cast("type[H11Protocol]", Guarded)


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the other end has not taken: in this process, and in the system's own buffer."""
    waiting = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    with suppress(OSError, ValueError):  # it is closed, or the system does not say
        beyond = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        waiting += struct.unpack("i", beyond)[0]
    return waiting
