"""Requests of a client on their way to its server: how many at once, and again when that helps.

    wire.Call  ──>  send  ──>  wire.Reply
                     │  429, 503, a proxy's 502, a lost connection
                     └──── wait and send again

Every request is a question without side effects: it may be asked again when nobody knows whether
it arrived.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from itertools import count

import httpx2

from esm2.arguments import seconds, whole
from esm2.client import trouble, wire
from esm2.client.address import address, on_this_machine
from esm2.client.retry import Retry, seconds_asked
from esm2.oneprocess import OneProcess

_log = logging.getLogger("esm2.client")

#: What whoever uses a closed client is told.
CLOSED = "the client is closed"

# Seconds to get rid of a piece of the body. Answers may take `timeout`.
_WRITE = 60.0

_BUSY = (429, 503)
# Of a proxy with nothing behind it, now: as good as a lost connection. Our server never says it.
_NOTHING_BEHIND = 502
# The connection was lost, or never made. A server too slow to answer is not asked twice.
_LOST = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout)


class Connection(OneProcess):
    """What an AsyncClient sends through; its arguments are those of `Client`.

    Raises:
        SettingsError, TypeError, ValueError: one of them cannot be used; it says which.
    """

    def __init__(
        self, url: str, token: str | None, timeout: float, connections: int, retry: Retry | None
    ) -> None:
        super().__init__("client")
        self.url = address(url)
        if retry is not None and not isinstance(retry, Retry):
            raise TypeError(f"retry is {type(retry).__name__}; pass a Retry, as Retry(attempts=3)")
        if seconds(timeout, "timeout") == 0:
            raise ValueError("timeout is 0; give the server some seconds")
        if whole(connections, "connections") < 1:
            raise ValueError(f"connections is {connections}; at least one is needed")
        self._retry = retry or Retry()
        self._timeout = timeout
        self._closed = False
        self._slots = asyncio.Semaphore(connections)
        self._answered = False
        self._told = False
        self._loop: asyncio.AbstractEventLoop | None = None
        headers = {"User-Agent": wire.USER_AGENT, **wire.authorization(token)}
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=trouble.CONNECT, write=_WRITE, pool=None),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            follow_redirects=False,  # the token is for this server
            trust_env=not on_this_machine(self.url),  # no proxy can reach this machine's loopback
            # Whom to trust is SSL_CERT_FILE's all the same.
            verify=httpx2.create_ssl_context() if self.url.startswith("https:") else True,
        )

    async def send(self, call: wire.Call) -> wire.Reply:
        """The reply to a call, whatever its status; sent again while that helps.

        Raises:
            ServerUnreachable: there was none.
            RuntimeError, ValueError: as `check_usable`.
        """
        self.check_usable()
        waited = 0.0
        async with self._slots:
            for failures in count(1):
                outcome = await self._attempt(call)
                pause = self._pause(outcome, failures, waited)
                if pause is None:
                    break
                self._tell(outcome, pause)
                await self._retry.wait(pause)
                waited += pause
        if isinstance(outcome, wire.Reply):
            return outcome
        raise trouble.unreachable(
            self.url, outcome, self._timeout, answered=self._answered
        ) from outcome

    async def aclose(self) -> None:
        """Close what is open. After a fork, nothing: it is the other process's."""
        if not self._elsewhere:
            self._check_home()
            self._closed = True
            await self._http.aclose()

    def check_usable(self) -> None:
        """
        Raises:
            RuntimeError: the client belongs to another event loop, or to another process.
            ValueError: it is closed.
        """
        self._check_home()
        if self._closed:
            raise ValueError(CLOSED)

    def _check_home(self) -> None:
        """Connections end with the loop that made them; another one finds them dead."""
        self._refuse_elsewhere()
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise RuntimeError(
                "this AsyncClient belongs to another event loop: make one client for each loop, as"
                " for each asyncio.run, or use Client, which needs none"
            )

    async def _attempt(self, call: wire.Call) -> wire.Reply | httpx2.HTTPError:
        self.check_usable()  # also after every wait
        try:
            response = await self._http.request(
                call.method, self.url + call.path, headers=call.headers, content=call.body
            )
        except httpx2.HTTPError as error:
            self.check_usable()  # closing ends what is on its way
            return error
        self._answered = self._answered or response.status_code != _NOTHING_BEHIND
        return wire.Reply(response.status_code, dict(response.headers), response.content)

    def _pause(
        self, outcome: wire.Reply | httpx2.HTTPError, failures: int, waited: float
    ) -> float | None:
        """Seconds until the next attempt; None where that was the last."""
        if isinstance(outcome, wire.Reply):
            if outcome.status == _NOTHING_BEHIND:
                return self._pause_when_lost(failures, waited)
            if outcome.status not in _BUSY:
                return None
            asked = seconds_asked(outcome.headers.get("retry-after"), datetime.now(UTC))
            return self._retry.pause(failures, waited, asked)
        if not isinstance(outcome, _LOST):
            return None
        return self._pause_when_lost(failures, waited)

    def _pause_when_lost(self, failures: int, waited: float) -> float | None:
        if not self._answered and failures >= self._retry.attempts_at_first:
            return None
        return self._retry.pause(failures, waited, None)

    def _tell(self, outcome: wire.Reply | httpx2.HTTPError, pause: float) -> None:
        """Say why it takes long: once aloud, then for those who follow the log."""
        aloud = self._answered and not self._told
        self._told = self._told or aloud
        level = logging.WARNING if aloud else logging.INFO
        why = self._reason(outcome)
        _log.log(level, "%s: %s; asking again in %.1f s, and so on", self.url, why, pause)

    def _reason(self, outcome: wire.Reply | httpx2.HTTPError) -> str:
        if isinstance(outcome, wire.Reply):
            return f"status {outcome.status}"
        return trouble.reason(outcome, self._timeout)
