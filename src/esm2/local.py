"""The Python door: a model in this process, numpy arrays out.

import esm2
with esm2.load("esm2-demo") as model:
    model.embed(["MKTAYIAKQR", "GSHMK"])                    # (2, D)
    model.encode(["MKTAYIAKQR"], include=["contacts"])      # [Encoded]
    model.predict(["MKT<mask>YIAKQR"])                      # [(10, 20)]
    model.fill_mask("MKT<mask>YIAKQR", top_k=1)             # [[Guess(4, "A", 0.07...)]]
    model.score_variants("MKTAYIAKQR", ["A4G", "K2R:Q9E"])  # (2,)
    model.scan("MKTAYIAKQR").scores                         # (20, 10)
    model.attention_maps("MKTAYIAKQR", layers=6, heads=[0, 3])   # (1, 2, 10, 10)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self, TypeVar, overload

import numpy as np

from esm2 import bulk, stream
from esm2.alphabet import AMINO_ACID_COLUMNS, Masks, tokenize, tokenize_all, tokenize_one
from esm2.arguments import Embedding, Heads, Layers, Maps, Pool, check_one_of, encoding, texts
from esm2.bar import bar
from esm2.budget import MemoryModel, free_bytes
from esm2.errors import RequestError, ShuttingDown
from esm2.oneprocess import OneProcess
from esm2.science import marginals
from esm2.science.marginals import Scan, ScanStrategy, Strategy, Work
from esm2.science.scoring import Double, Guess, check_top_k, guesses
from esm2.science.variants import Offset, place
from esm2.types import (
    ByLayer,
    Decided,
    Encoded,
    Float,
    ForwardRequest,
    OutputName,
    Outputs,
    Record,
    Want,
)

# Enough that the batcher's packs are full while results are taken out in order.
_PACKS_IN_FLIGHT = 8

Result = TypeVar("Result")


class Model(OneProcess):
    """A loaded model. Use it as a context manager, or call `close` when done.

    `sequences` is a list, or anything else that holds str in an order: a tuple, a generator, a
    numpy array, a pandas Series. Anything else is a TypeError that says what to pass: a single
    str, a mapping, a set. It belongs to the process that loaded it: after a fork its copy raises
    RuntimeError.

    Attributes:
        decided: what it is and how it runs: shape, device, dtype, weights hash.
    """

    def __init__(
        self,
        decided: Decided,
        submit: Callable[[ForwardRequest], Future[Outputs]],
        resources: ExitStack,
    ) -> None:
        super().__init__("model")
        self.decided = decided
        self._submit = submit
        self._resources = resources
        self._closed = False

    def __repr__(self) -> str:
        own = self.decided
        state = ", closed" if self._closed else ""
        return (
            f"<esm2.Model {own.slug}: {own.weights_kind} weights {own.weights_sha256[:12]},"
            f" {own.device}, {own.dtype}, {own.kernel}{state}>"
        )

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
            sequences: residues in upper case; `<mask>` is allowed.
            layers: 0 (embedding) .. N (last), negative from the end; one, or k of them.
            pool: "mean", "max", "min" over residues (no BOS, EOS); "bos"; None for every residue.
            progress: show a bar on standard error.

        Returns:
            float32 (n, D) for one layer, (n, k, D) for several, in the order of `layers`. With
            pool=None a list of n arrays, (L, D) or (L, k, D).

        Raises:
            InvalidRequest: naming every sequence that cannot be used; nothing was computed.
            LayerOutOfRange: the model has no such layer.
        """
        asked = Embedding.asked(layers, pool, self.decided.shape)
        outputs = self._run(sequences, asked.want, "any", progress=progress)
        return asked.together([asked.of(own) for own in outputs])

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
            InvalidRequest, LayerOutOfRange, ContactsUnavailable, LogitsUnavailable.
        """
        want = encoding(include, layers, self.decided.shape)
        layers_there = self.decided.shape.layers
        return [_encoded(outputs, layers_there) for outputs in self._run(sequences, want, "none")]

    def predict(self, sequences: Iterable[str], *, masks_only: bool = False) -> list[Float]:
        """Logits of masked sequences.

        Args:
            sequences: residues in upper case with one `<mask>` or more.
            masks_only: of the masked residues alone, which is faster.

        Returns:
            float32 (L, 20) for each sequence, or (masks, 20) in their order; columns
            `alphabet.AMINO_ACIDS`, raw logits.

        Raises:
            InvalidRequest: naming every sequence that cannot be used.
        """
        want = Want(logits=True, masks_only=masks_only)
        return [_amino_logits(outputs) for outputs in self._run(sequences, want, "some")]

    def contacts(self, sequences: Iterable[str]) -> list[Float]:
        """The probability that two residues touch, float32 (L, L) of each; as `encode`."""
        outputs = self.encode(sequences, include=["contacts"])
        return [own.contacts for own in outputs if own.contacts is not None]

    def attentions(self, sequences: Iterable[str]) -> list[Float]:
        """The attention that residues receive, float32 (N, L) of each; as `encode`."""
        outputs = self.encode(sequences, include=["attentions"])
        return [own.attentions for own in outputs if own.attentions is not None]

    def attention_maps(self, sequence: str, layers: Layers = -1, heads: Heads = None) -> Float:
        """Whole attention maps of a protein; only those that are asked for are kept in memory.

        Args:
            sequence: residues in upper case; `<mask>` is allowed.
            layers: 1..N (last), negative from the end; one, or several.
            heads: 0..H - 1, negative from the end; one, or several. None is all of them.

        Returns:
            float32 (layers, heads, L, L), in the order of both: how much of its attention a residue
            (row) pays to each residue (column). A row adds up to less than 1: the rest goes to the
            tokens before and after the residues. transformers' `attentions[layer - 1][0, head]`
            has the same numbers at [1:-1, 1:-1].

        Raises:
            LayerOutOfRange, HeadOutOfRange: there is none; RequestError: layer 0 has none.
            DoesNotFit: there is no room for so many.
            RequestError: the sequence cannot be used.
        """
        with self._in_use():
            asked = Maps.asked(layers, heads, self.decided.shape)
            tokens = tokenize_one(sequence, masks="any")
            memory = MemoryModel(self.decided.shape, self.decided.threads)
            memory.check(asked.want, len(tokens) - 2, free_bytes(), len(tokens) - 2)
            return asked.of(self._submit(ForwardRequest(tokens, asked.want)).result())

    def logits(self, sequences: Iterable[str]) -> list[Float]:
        """Raw logits, float32 (L, 20) of each; as `encode`, and `<mask>` is allowed."""
        asked = self._run(sequences, Want(logits=True), "any")
        return [_amino_logits(outputs) for outputs in asked]

    def fill_mask(self, sequence: str, top_k: int = 5) -> list[list[Guess]]:
        """The most probable amino acids at each `<mask>`.

        Args:
            sequence: residues in upper case with one `<mask>` or more.
            top_k: guesses for each, 1..20.

        Returns:
            the guesses of each mask, in order, the most probable first. A probability is a softmax
            over the 20 natural amino acids: the other 13 tokens are left out.

        Raises:
            RequestError: the sequence cannot be used.
        """
        check_top_k(top_k)
        tokens = tokenize(sequence, masks="some")
        (logits,) = self.predict([sequence], masks_only=True)
        return guesses(logits, tokens, top_k)

    def log_prob(self, sequences: Iterable[str]) -> Float:
        """Approximate log-probability of proteins, from one pass with nothing masked.

        Args:
            sequences: residues in upper case, no `<mask>`.

        Returns:
            float32 (n,), natural logarithms; `scoring.log_prob` has the formula.

        Raises:
            InvalidRequest: naming every sequence that cannot be used.
        """
        works = (("", marginals.log_prob(own)) for _, own in tokenize_all(sequences, masks="none"))
        values = [value for _, value in marginals.in_turn(works, self._forward)]
        return np.array(values, dtype=np.float32)

    def score_variants(
        self,
        sequence: str,
        variants: Iterable[str],
        strategy: Strategy = "masked-marginals",
        offset: Offset = 0,
    ) -> Double:
        """Scores of variants of a protein: zero-shot estimates of their effect.

        Args:
            sequence: the wild type, residues in upper case, no `<mask>`.
            variants: such as "A24G", "p.Ala24Gly" or "A24G:D30N"; "WT" is the wild type.
            strategy: "masked-marginals" (each mutated position masked in a pass of its own),
                "wt-marginals" (one unmasked pass) or "pppl" (a pass for each residue of each
                variant). `marginals` has the formulas.
            offset: subtracted from each position to get the 1-based residue; "auto" takes 0, or
                else the only one with which every wild-type letter matches.

        Returns:
            float64 (n,), log-likelihood ratios in nats: 0 is the wild type, below it is worse.

        Raises:
            InvalidRequest: naming variants that cannot be read or do not match the sequence.
            OffsetNotFound: "auto" found no offset, or more than one.
            RequestError: the sequence cannot be used.
        """
        named = texts(variants, "variants")
        check_one_of(strategy, Strategy, "strategy")
        tokens = tokenize_one(sequence)
        return self._done(marginals.scores(tokens, place(named, tokens, offset), strategy))

    def scan(self, sequence: str, strategy: ScanStrategy = "masked-marginals") -> Scan:
        """Scores of every substitution of a protein.

        Args:
            sequence: residues in upper case, no `<mask>`.
            strategy: "masked-marginals" (L passes) or "wt-marginals" (one).

        Returns:
            a Scan: `scores` is float64 (20, L), rows `alphabet.AMINO_ACIDS`, as `score_variants`
            gives them; `log_probabilities` is (L, 33).

        Raises:
            RequestError: the sequence cannot be used.
        """
        check_one_of(strategy, ScanStrategy, "strategy")
        tokens = tokenize_one(sequence)
        return Scan.of(tokens, self._done(marginals.log_probabilities(tokens, strategy)))

    def pll(self, sequences: Iterable[str]) -> Double:
        """Pseudo-log-likelihood of proteins: each residue masked in a pass of its own.

        Args:
            sequences: residues in upper case, no `<mask>`.

        Returns:
            float64 (n,), in nats; `scoring.pseudo_perplexity` makes exp(-PLL / L) of it.

        Raises:
            InvalidRequest: naming every sequence that cannot be used.
        """
        works = (("", marginals.pll(own)) for _, own in tokenize_all(sequences, masks="none"))
        return np.array([value for _, value in marginals.in_turn(works, self._forward)])

    def close(self) -> None:
        """Unload the model; using it afterwards raises ValueError. After a fork, nothing."""
        self._closed = True
        if not self._elsewhere:
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _done(self, work: Work[Result]) -> Result:
        with self._in_use():  # also where there are none
            return work.read(self._forward(work.requests()))

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Refuse a closed model, and one that another thread closes meanwhile, in the same words.

        Raises:
            ValueError: it is closed.
        """
        self._refuse_elsewhere()
        try:
            if self._closed:
                raise ShuttingDown
            yield
        except ShuttingDown:  # of the batcher: nothing else closes it
            raise ValueError("the model is closed") from None

    def _forward(self, requests: Iterable[ForwardRequest]) -> Iterator[Outputs]:
        with self._in_use():
            self.decided.check(Want(logits=True))  # scores are made of nothing else
            in_flight = _PACKS_IN_FLIGHT * self.decided.pack_tokens
            yield from stream.run(requests, self._submit, in_flight_tokens=in_flight)

    def _run(
        self, sequences: Iterable[str], want: Want, masks: Masks, *, progress: bool = False
    ) -> Iterator[Outputs]:
        with self._in_use(), ExitStack() as stack:
            self.decided.check(want)
            given = tokenize_all(sequences, masks=masks)  # nothing is computed if any is faulty
            records = (Record(str(i), "", sequence, i + 1) for i, (sequence, _) in enumerate(given))
            done = bulk.embed(
                records,
                want,
                self._submit,
                max_residues=sys.maxsize,
                in_flight_tokens=_PACKS_IN_FLIGHT * self.decided.pack_tokens,
            )
            advance = stack.enter_context(bar(len(given), progress))
            for each in done:
                if isinstance(each.result, RequestError):
                    raise each.result
                yield each.result
                advance(1)


def _encoded(outputs: Outputs, layers: int) -> Encoded:
    mean, per_token, bos = (
        ByLayer(own, layers) for own in (outputs.mean, outputs.per_token, outputs.bos)
    )
    logits = None if outputs.logits is None else _amino_logits(outputs)
    return Encoded(mean, per_token, bos, logits, outputs.contacts, outputs.attentions)


def _amino_logits(outputs: Outputs) -> Float:
    assert outputs.logits is not None, "they were asked for"
    return np.ascontiguousarray(outputs.logits[:, AMINO_ACID_COLUMNS])
