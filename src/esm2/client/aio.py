"""The client for programs that have an event loop; `client.Client` is the same for all others.

    embed, encode, ...  ->  batches  ->  wire.Call  ->  send  ->  wire.Reply  ->  arrays
                                                        │  429, 503, a lost connection:
                                                        └──── wait and send again

At most `connections` requests are on their way at once; the server makes packs of them. Every
request is a question without side effects: it may be asked again when nobody knows whether it
arrived. When one fails for good the others are cancelled, and the server drops what it has not
begun.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from types import TracebackType
from typing import Self, TypeVar, overload

import httpx2
import numpy as np

from esm2.alphabet import MASK, Masks, letters, residue_tokens, tokenize
from esm2.arguments import Embedding, Layers, Pool, encoding, texts
from esm2.bar import bar
from esm2.client import wire
from esm2.client.address import address, on_this_machine
from esm2.client.batches import Batch, batches, checked
from esm2.client.refusals import of_its_only_item
from esm2.client.retry import Retry, seconds_asked
from esm2.errors import InvalidRequest, ServerUnreachable
from esm2.oneprocess import OneProcess
from esm2.science.marginals import Strategy
from esm2.science.scoring import Guess, check_top_k, guesses
from esm2.types import (
    Decided,
    Encoded,
    Float,
    ForwardRequest,
    OutputName,
    Outputs,
    Want,
)

Job = TypeVar("Job")
Result = TypeVar("Result")

_log = logging.getLogger("esm2.client")

# Seconds to connect, and to get rid of a piece of the body. Answers may take `timeout`.
_CONNECT = 10.0
_WRITE = 60.0

_BUSY = (429, 503)
# Of a proxy with nothing behind it, now: as good as a lost connection. Our server never says it.
_NOTHING_BEHIND = 502
# The connection was lost, or never made. A server too slow to answer is not asked twice.
_LOST = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout)


class AsyncClient(OneProcess):
    """As `Client`, method for method, for use with `async with` and `await`.

    It belongs to the event loop that it is first used in, and to the process that made it; in
    another one it raises RuntimeError.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        model: str | None = None,
        timeout: float = 1200.0,
        connections: int = 8,
        retry: Retry | None = None,
    ) -> None:
        super().__init__("client")
        self.url = address(url)
        self._model = model
        self._retry = retry or Retry()
        self._timeout = timeout
        self._connections = connections
        self._slots = asyncio.Semaphore(connections)
        self._about: tuple[Decided, wire.Limits] | None = None
        self._answered = False
        self._told = False
        self._loop: asyncio.AbstractEventLoop | None = None
        headers = {"User-Agent": wire.USER_AGENT, **wire.authorization(token)}
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=_CONNECT, write=_WRITE, pool=None),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            follow_redirects=False,  # the token is for this server
            trust_env=not on_this_machine(self.url),  # no proxy can reach this machine's loopback
        )

    def __repr__(self) -> str:
        model = "" if self._model is None else f", model={self._model!r}"
        return f"{type(self).__name__}({self.url!r}{model})"

    async def decided(self) -> Decided:
        """What the model is and how it runs there: shape, device, dtype, weights hash."""
        return (await self._known())[0]

    @overload
    async def embed(
        self,
        sequences: Iterable[str],
        layers: Layers = ...,
        pool: Pool = ...,
        *,
        progress: bool = ...,
    ) -> Float: ...
    @overload
    async def embed(
        self, sequences: Iterable[str], layers: Layers = ..., *, pool: None, progress: bool = ...
    ) -> list[Float]: ...
    @overload
    async def embed(
        self,
        sequences: Iterable[str],
        layers: Layers = ...,
        pool: Pool | None = ...,
        *,
        progress: bool = ...,
    ) -> Float | list[Float]: ...
    async def embed(
        self,
        sequences: Iterable[str],
        layers: Layers = -1,
        pool: Pool | None = "mean",
        *,
        progress: bool = False,
    ) -> Float | list[Float]:
        """As `Client.embed`."""
        decided, _ = await self._known()
        asked = Embedding.asked(layers, pool, decided.shape)
        want = asked.want
        rows = await self._run(
            "encode", sequences, want, lambda item: asked.of(item.encoded(want)), progress=progress
        )
        return asked.together(rows)

    async def encode(
        self,
        sequences: Iterable[str],
        include: Iterable[OutputName] = ("mean",),
        layers: Layers = -1,
    ) -> list[Encoded]:
        """As `Client.encode`."""
        decided, _ = await self._known()
        want = encoding(include, layers, decided.shape)
        decided.check(want)
        return await self._run("encode", sequences, want, lambda item: item.encoded(want))

    async def predict(self, sequences: Iterable[str]) -> list[Float]:
        """As `Client.predict`."""
        return await self._run(
            "predict", sequences, None, lambda item: item.array("logits"), masks="some"
        )

    async def contacts(self, sequences: Iterable[str]) -> list[Float]:
        """As `Client.contacts`."""
        encoded = await self.encode(sequences, include=["contacts"])
        return [own.contacts for own in encoded if own.contacts is not None]

    async def attentions(self, sequences: Iterable[str]) -> list[Float]:
        """As `Client.attentions`."""
        encoded = await self.encode(sequences, include=["attentions"])
        return [own.attentions for own in encoded if own.attentions is not None]

    async def logits(self, sequences: Iterable[str]) -> list[Float]:
        """As `Client.logits`."""
        encoded = await self.encode(sequences, include=["logits"])
        return [own.logits for own in encoded if own.logits is not None]

    async def fill_mask(self, sequence: str, top_k: int = 5) -> list[list[Guess]]:
        """As `Client.fill_mask`."""
        check_top_k(top_k)
        tokens = tokenize(sequence, masks="some")
        (logits,) = await self.predict([sequence])
        return guesses(logits[residue_tokens(tokens) == MASK], tokens, top_k)

    async def log_prob(self, sequences: Iterable[str]) -> Float:
        """As `Client.log_prob`."""
        values = await self._run("log_prob", sequences, None, lambda item: item.array("log_prob"))
        return np.array(values, dtype=np.float32)

    async def score_variants(
        self,
        sequence: str,
        variants: Iterable[str],
        strategy: Strategy = "masked-marginals",
        offset: int = 0,
    ) -> Float:
        """As `Client.score_variants`."""
        named = texts(variants, "variants")
        decided, limits = await self._known()
        checked([sequence], "none", limits)
        if not named:
            return np.empty(0, dtype=np.float32)
        call = wire.scoring(decided.slug, sequence, named, strategy, offset)
        arrays = wire.arrays_in(await self.send(call), decided)
        return wire.scores_in(arrays, len(named))

    async def forward(self, request: ForwardRequest) -> Outputs:
        """One request, as a batcher takes it.

        Raises:
            ValueError: for logits, which do not travel as (L, 33); `encode` gives (L, 20).
            RequestError: what is wrong with the sequence; of the class that the server raised.
        """
        if request.want.logits:
            raise ValueError("logits of all 33 tokens do not travel; use encode or predict")
        decided, _ = await self._known()
        residues = letters(request.tokens)
        call = wire.asking(
            decided.slug, "encode", ["".join(residues)], wire.params_of(request.want)
        )
        try:
            arrays = wire.arrays_in(await self.send(call), decided)
        except InvalidRequest as error:
            raise of_its_only_item(error) from error
        encoded = wire.Item(arrays, 0, len(residues), decided.shape).encoded(request.want)
        by_layer = dict(encoded.mean), dict(encoded.per_token), dict(encoded.bos)
        return Outputs(*by_layer, None, encoded.contacts, encoded.attentions)

    async def send_all(self, calls: Sequence[wire.Call]) -> list[wire.Reply]:
        """The replies to some calls, in their order, whatever their status."""
        replies: dict[int, wire.Reply] = {}

        async def send(numbered: tuple[int, wire.Call]) -> None:
            replies[numbered[0]] = await self.send(numbered[1])

        await self._each(enumerate(calls), send)
        return [replies[index] for index in range(len(calls))]

    async def send(self, call: wire.Call) -> wire.Reply:
        """The reply to a call, whatever its status; sent again while that helps.

        Raises:
            ServerUnreachable: there was none.
            RuntimeError: the client belongs to another event loop, or to another process.
        """
        self._check_home()
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
        raise ServerUnreachable(self.url, self._reason(outcome)) from outcome

    async def aclose(self) -> None:
        """Close the connections. After a fork, nothing: they are the other process's."""
        if not self._elsewhere:
            self._check_home()
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

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

    # --- one request -----------------------------------------------------------------------------

    async def _attempt(self, call: wire.Call) -> wire.Reply | httpx2.HTTPError:
        try:
            response = await self._http.request(
                call.method, self.url + call.path, headers=call.headers, content=call.body
            )
        except httpx2.HTTPError as error:
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
        if isinstance(outcome, httpx2.ReadTimeout):
            return f"it was silent for {self._timeout:g} s"
        if isinstance(outcome, httpx2.ConnectTimeout):
            return f"it did not take a connection within {_CONNECT:g} s"
        if isinstance(outcome, httpx2.ReadError | httpx2.WriteError):
            return "the connection was lost"
        said = " ".join(str(outcome).split()).rstrip(".") or type(outcome).__name__
        return said[0].lower() + said[1:]

    # --- many requests ---------------------------------------------------------------------------

    async def _known(self) -> tuple[Decided, wire.Limits]:
        if self._about is None:
            info = wire.info_in(await self.send(wire.INFO))
            self._about = info.model(self._model), info.limits
        return self._about

    async def _run(
        self,
        action: str,
        sequences: Iterable[str],
        want: Want | None,
        read: Callable[[wire.Item], Result],
        *,
        masks: Masks = "none",
        progress: bool = False,
    ) -> list[Result]:
        """What `read` makes of the arrays of each sequence, in order."""
        decided, limits = await self._known()
        params = {} if want is None else wire.params_of(want)
        proteins = checked(sequences, masks, limits)
        results: dict[int, Result] = {}
        with bar(len(proteins), progress) as advance:

            async def ask(batch: Batch) -> None:
                call = wire.asking(decided.slug, action, batch.sequences, params)
                arrays = wire.arrays_in(await self.send(call), decided, batch.first)
                for index, protein in enumerate(batch.proteins):
                    item = wire.Item(arrays, index, protein.residues, decided.shape)
                    results[batch.first + index] = read(item)
                advance(len(batch.proteins))

            await self._each(batches(proteins, params, limits), ask)
        return [results[index] for index in range(len(proteins))]

    async def _each(self, jobs: Iterable[Job], work: Callable[[Job], Awaitable[None]]) -> None:
        """Do all jobs, `connections` at once; the first failure cancels the rest."""
        remaining = iter(jobs)

        async def take() -> None:
            for job in remaining:
                await work(job)

        takers = [asyncio.create_task(take()) for _ in range(self._connections)]
        try:
            await asyncio.gather(*takers)
        finally:
            for taker in takers:
                taker.cancel()
            await asyncio.gather(*takers, return_exceptions=True)
