"""The client for programs that have an event loop; `client.Client` is the same for all others.

    embed, encode, ...  ->  batches  ->  wire.Call  ->  Connection  ->  wire.Reply  ->  arrays

At most `connections` requests are on their way at once; the server makes packs of them. When one
fails for good the others are cancelled, and the server drops what it has not begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import numpy as np

from esm2.alphabet import MASK, Masks, letters, residue_tokens, tokenize, tokenize_one
from esm2.arguments import Embedding, Layers, Pool, check_one_of, encoding, text, texts
from esm2.bar import bar
from esm2.client import wire
from esm2.client.batches import Batch, Protein, batches, checked
from esm2.client.connection import Connection
from esm2.client.refusals import of_its_only_item
from esm2.client.retry import Retry
from esm2.errors import (
    BodyTooLarge,
    InvalidRequest,
    RequestError,
    SequenceTooLong,
    TooManyItems,
    Unauthenticated,
)
from esm2.science.marginals import Scan, ScanStrategy, Strategy
from esm2.science.scoring import Double, Guess, check_top_k, guesses
from esm2.science.variants import Offset, place
from esm2.types import (
    Decided,
    Encoded,
    Float,
    ForwardRequest,
    OutputName,
    Outputs,
)

Job = TypeVar("Job")
Result = TypeVar("Result")

# What a server says to a request of a size that it accepted before it was started anew.
_TOO_MUCH_NOW = (TooManyItems.code, BodyTooLarge.code)


class AsyncClient:
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
        self._connection = Connection(url, token, timeout, connections, retry)
        self._model = None if model is None else text(model, "model", "pass its name as one str")
        self._anonymous = token is None
        self._connections = connections
        self._about: tuple[Decided, wire.Limits] | None = None

    def __repr__(self) -> str:
        model = "" if self._model is None else f", model={self._model!r}"
        return f"{type(self).__name__}({self._connection.url!r}{model})"

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
            "encode",
            sequences,
            wire.params_of(want),
            lambda item: asked.of(item.encoded(want)),
            progress=progress,
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
        params = wire.params_of(want)
        return await self._run("encode", sequences, params, lambda item: item.encoded(want))

    async def predict(self, sequences: Iterable[str]) -> list[Float]:
        """As `Client.predict`."""
        return await self._run(
            "predict", sequences, {}, lambda item: item.array("logits"), masks="some"
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
        try:
            (logits,) = await self.predict([sequence])
        except InvalidRequest as error:
            raise of_its_only_item(error) from error
        return guesses(logits[residue_tokens(tokens) == MASK], tokens, top_k)

    async def log_prob(self, sequences: Iterable[str]) -> Float:
        """As `Client.log_prob`."""
        values = await self._run("log_prob", sequences, {}, lambda item: item.array("log_prob"))
        return np.array(values, dtype=np.float32)

    async def score_variants(
        self,
        sequence: str,
        variants: Iterable[str],
        strategy: Strategy = "masked-marginals",
        offset: Offset = 0,
    ) -> Float:
        """As `Client.score_variants`."""
        named = texts(variants, "variants")
        check_one_of(strategy, Strategy, "strategy")
        sites = place(named, tokenize_one(sequence), offset)
        decided, _ = await self._known()
        if not named:
            return np.empty(0, dtype=np.float32)
        call = wire.scoring(decided.slug, sequence, named, strategy, sites.offset)
        return wire.scores_in(await self._arrays_of_one(call, decided), len(named))

    async def scan(self, sequence: str, strategy: ScanStrategy = "masked-marginals") -> Scan:
        """As `Client.scan`."""
        check_one_of(strategy, ScanStrategy, "strategy")
        tokens = tokenize_one(sequence)
        decided, _ = await self._known()
        call = wire.asking(decided.slug, "scan", [sequence], {"strategy": strategy})
        arrays = await self._arrays_of_one(call, decided)
        item = wire.Item(arrays, 0, len(residue_tokens(tokens)), decided.shape)
        return Scan(tokens, item.array("scores").T.astype(np.float64))

    async def pll(self, sequences: Iterable[str]) -> Double:
        """As `Client.pll`."""
        values = await self._run(
            "pll", sequences, {}, lambda item: item.array("pll"), one_by_one=True
        )
        return np.array(values, dtype=np.float64)

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
        arrays = await self._arrays_of_one(call, decided)
        encoded = wire.Item(arrays, 0, len(residues), decided.shape).encoded(request.want)
        by_layer = dict(encoded.mean), dict(encoded.per_token), dict(encoded.bos)
        return Outputs(*by_layer, None, encoded.contacts, encoded.attentions)

    async def send_all(self, calls: Sequence[wire.Call]) -> list[wire.Reply]:
        """The replies to some calls, in their order, whatever their status."""
        self._connection.check_usable()
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
            ValueError: it is closed.
        """
        return await self._connection.send(call)

    async def aclose(self) -> None:
        """Close the connections; using the client afterwards, or meanwhile, raises ValueError.

        After a fork, nothing: they are the other process's.
        """
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _known(self) -> tuple[Decided, wire.Limits]:
        self._connection.check_usable()
        if self._about is None:
            info = await self._info()
            self._about = info.model(self._model), info.limits
        return self._about

    async def _info(self) -> wire.Info:
        with self._telling_where_the_token_goes():
            return wire.info_in(await self.send(wire.INFO), self._connection.url)

    async def _limits_anew(self) -> wire.Limits:
        """What the server accepts now; whether its model is still the same, its replies tell."""
        decided, _ = await self._known()
        limits = (await self._info()).limits
        self._about = decided, limits
        return limits

    async def _arrays(self, call: wire.Call, decided: Decided, first: int = 0) -> dict[str, Float]:
        """The arrays of the reply to a call, as `wire.arrays_in`."""
        with self._telling_where_the_token_goes():
            return wire.arrays_in(await self.send(call), decided, first)

    @contextmanager
    def _telling_where_the_token_goes(self) -> Iterator[None]:
        """The server speaks of a header, which nobody writes who uses this client."""
        try:
            yield
        except Unauthenticated as error:
            if not self._anonymous:
                raise
            raise Unauthenticated(f"{error} (here: the argument token)") from error

    async def _arrays_of_one(self, call: wire.Call, decided: Decided) -> dict[str, Float]:
        """The same of a call about one sequence, whose faults need no place."""
        try:
            return await self._arrays(call, decided)
        except InvalidRequest as error:
            raise of_its_only_item(error) from error

    async def _checked(self, sequences: Iterable[str], masks: Masks) -> list[Protein]:
        listed = texts(sequences, "sequences")
        _, limits = await self._known()
        try:
            return checked(listed, masks, limits)
        except InvalidRequest as error:
            if error.code != SequenceTooLong.code:
                raise
        return checked(listed, masks, await self._limits_anew())

    async def _run(
        self,
        action: str,
        sequences: Iterable[str],
        params: dict[str, Any],
        read: Callable[[wire.Item], Result],
        *,
        masks: Masks = "none",
        progress: bool = False,
        one_by_one: bool = False,
    ) -> list[Result]:
        """What `read` makes of the arrays of each sequence, in order."""
        proteins = await self._checked(sequences, masks)
        decided, _ = await self._known()
        results: dict[int, Result] = {}

        def limits() -> wire.Limits:
            assert self._about, "they are known by now"
            own = self._about[1]  # one by one: each is so much work that it waits its turn alone
            return replace(own, max_items=1) if one_by_one else own

        with bar(len(proteins), progress) as advance:

            async def ask(batch: Batch) -> None:
                call = wire.asking(decided.slug, action, batch.sequences, params)
                try:
                    arrays = await self._arrays(call, decided, batch.first)
                except RequestError as error:
                    if error.code not in _TOO_MUCH_NOW:
                        raise
                    await self._limits_anew()
                    parts = list(batches(batch.proteins, params, limits, batch.first))
                    if len(parts) == 1:
                        raise
                    for part in parts:
                        await ask(part)
                    return
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
