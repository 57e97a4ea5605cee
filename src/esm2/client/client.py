"""The client: what `esm2.load` gives, from a server, without torch.

    from esm2.client import Client
    with Client("http://127.0.0.1:8000", model="esm2-650m") as client:
        client.embed(["MKTAYIAKQR", "GSHMK"])                    # (2, D)
        client.encode(["MKTAYIAKQR"], include=["contacts"])      # [Encoded]
        client.predict(["MKT<mask>YIAKQR"])                      # [(10, 20)]
        client.log_prob(["MKTAYIAKQR"])                          # (1,)
        client.score_variants("MKTAYIAKQR", ["A4G", "K2R:Q9E"])  # (2,)
        client.scan("MKTAYIAKQR").scores                         # (20, 10)

`Client` is `AsyncClient` (`aio.py`) on a loop in the background; it holds no logic of its own.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from esm2.arguments import Layers, Pool
from esm2.client.aio import AsyncClient
from esm2.client.background import Background
from esm2.client.retry import Retry
from esm2.client.wire import Call, Reply
from esm2.oneprocess import OneProcess
from esm2.science.marginals import Scan, ScanStrategy, Strategy
from esm2.science.scoring import Double, Guess
from esm2.science.variants import Offset
from esm2.types import Decided, Encoded, Float, ForwardRequest, OutputName, Outputs

Answer = TypeVar("Answer")


class Client(OneProcess):
    """One model of a server. Use it as a context manager, or call `close` when done.

    Any number of sequences may be given at once, and any number of threads may share a client:
    it makes requests of the size that the server accepts, several at a time. A server that is
    full, restarting or out of reach for a while is asked again (`Retry`). Sequences come as in
    `esm2.load`'s Model. It belongs to the process that made it: after a fork its copy raises
    RuntimeError.

    Args:
        url: address of the server, like "http://127.0.0.1:8000".
        token: one of its tokens, if it wants one; shown to that address alone.
        model: any name of a model. May be left out where the server has one beside esm2-demo.
        timeout: seconds of silence after which an answer is given up.
        connections: requests on their way at once.
        retry: when to ask again, and when no longer.

    Raises:
        SettingsError, TypeError, ValueError: the address, the token or another argument cannot be
            used. Nothing is sent before the first question.
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
        self._client = AsyncClient(
            url, token, model=model, timeout=timeout, connections=connections, retry=retry
        )
        self._background = Background()

    def __repr__(self) -> str:
        return repr(self._client).removeprefix("Async")

    @property
    def decided(self) -> Decided:
        """What the model is and how it runs there; asked for once."""
        return self._wait(self._open().decided())

    @overload
    def embed(
        self,
        sequences: Iterable[str],
        layers: Layers = ...,
        pool: Pool = ...,
        *,
        progress: bool = ...,
    ) -> Float: ...
    @overload
    def embed(
        self, sequences: Iterable[str], layers: Layers = ..., *, pool: None, progress: bool = ...
    ) -> list[Float]: ...
    @overload
    def embed(
        self,
        sequences: Iterable[str],
        layers: Layers = ...,
        pool: Pool | None = ...,
        *,
        progress: bool = ...,
    ) -> Float | list[Float]: ...
    def embed(
        self,
        sequences: Iterable[str],
        layers: Layers = -1,
        pool: Pool | None = "mean",
        *,
        progress: bool = False,
    ) -> Float | list[Float]:
        """Embeddings of proteins.

        Args:
            sequences: residues in upper case. Unlike in this process, no `<mask>`: the API's
                encode does not take them.
            layers: 0 (embedding) .. N (last), negative from the end; one, or k of them.
            pool: "mean", "max", "min" over residues (no BOS, EOS); "bos"; None for every residue.
            progress: show a bar on standard error.

        Returns:
            float32 (n, D) for one layer, (n, k, D) for several, in the order of `layers`. With
            pool=None a list of n arrays, (L, D) or (L, k, D).

        Raises:
            InvalidRequest: naming every sequence that cannot be used; nothing was sent.
            LayerOutOfRange: the model has no such layer.
            UnknownModel, ModelNotServed, Unauthenticated, Overloaded, ...: as the server said.
            ServerUnreachable, UnexpectedReply: it said nothing, or is no esm2 server.
        """
        return self._wait(self._open().embed(sequences, layers, pool, progress=progress))

    def encode(
        self,
        sequences: Iterable[str],
        include: Iterable[OutputName] = ("mean",),
        layers: Layers = -1,
    ) -> list[Encoded]:
        """Everything the HTTP API's encode gives.

        Args:
            sequences: residues in upper case, no `<mask>`.
            include: any of mean, per_token, bos, logits, contacts, attentions.
            layers: of mean, per_token and bos; negative from the end.

        Returns:
            an `Encoded` for each sequence; its logits are (L, 20), columns `alphabet.AMINO_ACIDS`.

        Raises:
            ContactsUnavailable: the model has no contact head; else as `embed`.
        """
        return self._wait(self._open().encode(sequences, include, layers))

    def predict(self, sequences: Iterable[str]) -> list[Float]:
        """Logits of masked sequences.

        Args:
            sequences: residues in upper case with one `<mask>` or more.

        Returns:
            float32 (L, 20) for each sequence, columns `alphabet.AMINO_ACIDS`, raw logits.

        Raises:
            as `embed`.
        """
        return self._wait(self._open().predict(sequences))

    def contacts(self, sequences: Iterable[str]) -> list[Float]:
        """The probability that two residues touch, float32 (L, L) of each; as `encode`."""
        return self._wait(self._open().contacts(sequences))

    def attentions(self, sequences: Iterable[str]) -> list[Float]:
        """The attention that residues receive, float32 (N, L) of each; as `encode`."""
        return self._wait(self._open().attentions(sequences))

    def logits(self, sequences: Iterable[str]) -> list[Float]:
        """Raw logits, float32 (L, 20) of each; as `encode`."""
        return self._wait(self._open().logits(sequences))

    def fill_mask(self, sequence: str, top_k: int = 5) -> list[list[Guess]]:
        """The most probable amino acids at each `<mask>`.

        Args:
            sequence: residues in upper case with one `<mask>` or more.
            top_k: guesses for each, 1..20.

        Returns:
            the guesses of each mask, in order, the most probable first. A probability is a softmax
            over the 20 natural amino acids.

        Raises:
            RequestError: the sequence cannot be used; else as `embed`.
        """
        return self._wait(self._open().fill_mask(sequence, top_k))

    def log_prob(self, sequences: Iterable[str]) -> Float:
        """Approximate log-probabilities: one pass, nothing masked, summed over natural residues.

        Args:
            sequences: residues in upper case, no `<mask>`.

        Returns:
            float32 (n,), natural logarithms.

        Raises:
            as `embed`.
        """
        return self._wait(self._open().log_prob(sequences))

    def score_variants(
        self,
        sequence: str,
        variants: Iterable[str],
        strategy: Strategy = "masked-marginals",
        offset: Offset = 0,
    ) -> Float:
        """Scores of variants of a protein, all in one request.

        Args:
            sequence: the wild type, residues in upper case, no `<mask>`.
            variants: such as "A24G", "p.Ala24Gly" or "A24G:D30N"; "WT" is the wild type.
            strategy: "masked-marginals", "wt-marginals" or "pppl".
            offset: subtracted from each position to get the 1-based residue; "auto" takes 0, or
                else the only one with which every wild-type letter matches.

        Returns:
            float32 (n,), log-likelihood ratios in nats: 0 is the wild type, below it is worse.

        Raises:
            InvalidRequest: naming variants that cannot be read or do not match the sequence.
            OffsetNotFound: "auto" found no offset, or more than one.
            RequestError: the sequence cannot be used.
            TooMuchWork: more passes than the server takes in one request; else as `embed`.
        """
        return self._wait(self._open().score_variants(sequence, variants, strategy, offset))

    def scan(self, sequence: str, strategy: ScanStrategy = "masked-marginals") -> Scan:
        """Scores of every substitution of a protein, in one request.

        Args:
            sequence: residues in upper case, no `<mask>`.
            strategy: "masked-marginals" (L passes) or "wt-marginals" (one).

        Returns:
            a Scan: `scores` is float64 (20, L), rows `alphabet.AMINO_ACIDS`, as `score_variants`
            gives them (in float32's precision); `log_probabilities`, which do not travel, is None.

        Raises:
            RequestError: the sequence cannot be used.
            TooMuchWork: more passes than the server takes in one request; else as `embed`.
        """
        return self._wait(self._open().scan(sequence, strategy))

    def pll(self, sequences: Iterable[str]) -> Double:
        """Pseudo-log-likelihood of proteins: each residue masked in a pass of its own.

        Args:
            sequences: residues in upper case, no `<mask>`; each is a request.

        Returns:
            float64 (n,), in nats (float32's precision); `scoring.pseudo_perplexity` makes
            exp(-PLL / L) of it.

        Raises:
            TooMuchWork: more passes than the server takes in one request; else as `embed`.
        """
        return self._wait(self._open().pll(sequences))

    def submit(self, request: ForwardRequest) -> Future[Outputs]:
        """Start one request, as a batcher does; logits, which are (L, 33) there, are refused."""
        return self._background.submit(self._open().forward(request))

    def send_all(self, calls: Sequence[Call]) -> list[Reply]:
        """The replies to calls of the caller's own making, in their order.

        Raises:
            ServerUnreachable: one of them got none.
        """
        return self._wait(self._open().send_all(calls))

    def close(self) -> None:
        """Close the connections; using the client afterwards, or meanwhile, raises ValueError."""
        if not self._elsewhere:
            self._background.close(self._client.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> AsyncClient:
        self._refuse_elsewhere()
        return self._client

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self._background.run(work)
