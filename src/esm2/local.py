"""The Python door: a model in this process, numpy arrays out.

import esm2
with esm2.load("esm2-demo") as model:
    model.embed(["MKTAYIAKQR", "GSHMK"])                    # (2, D)
    model.encode(["MKTAYIAKQR"], include=["contacts"])      # [Outputs]
    model.predict(["MKT<mask>YIAKQR"])                      # [(10, 20)]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np

from esm2 import bulk
from esm2.alphabet import AMINO_ACID_COLUMNS, Masks, tokenize_all
from esm2.catalog import DEMO_SLUG, find
from esm2.errors import ContactsUnavailable, RequestError
from esm2.runtime import Spec, custom_spec, open_model, parse_spec
from esm2.scoring import log_prob
from esm2.types import Decided, Float, ForwardRequest, Outputs, Record, Want

# Enough that the batcher's packs are full while results are taken out in order.
_PACKS_IN_FLIGHT = 8

OutputName = Literal["mean", "per_token", "bos", "logits", "contacts", "attentions"]


def load(name: str | Path, *, device: str = "auto", dtype: str = "auto") -> Model:
    """Load a model.

    Args:
        name: a slug or any other name of a known model, a path of a checkpoint (a Hugging Face
            directory or fair-esm's .pt), or SLUG=PATH. An official model that is not on this
            machine is fetched, which is said on standard error.
        device: "auto" (cuda when there is one), "cpu", "cuda", "cuda:1".
        dtype: "auto" or "float32".

    Raises:
        UnknownModel, CheckpointError, HubError, SettingsError: each says what to do.
    """
    stack = ExitStack()
    served = stack.enter_context(
        open_model(
            _spec(name),
            device=device,
            dtype=dtype,
            on_fetch=lambda message: print(f"esm2: {message}", file=sys.stderr),
        )
    )
    return Model(served.decided, served.submit, stack)


def _spec(name: str | Path) -> Spec:
    """`SLUG`, `SLUG=PATH`, or a bare path, which answers under its own name."""
    if isinstance(name, str):
        known = name.lower() == DEMO_SLUG or find(name) is not None
        if known or not Path(name).exists():
            return parse_spec(name)
    path = Path(name).absolute()
    own = path.name if path.is_dir() else path.stem
    return custom_spec(re.sub("[^a-z0-9._-]+", "-", own.lower()).strip("-._") or "model", path)


class Model:
    """A loaded model. Use it as a context manager, or call `close` when done.

    Attributes:
        decided: what it is and how it runs: shape, device, dtype, weights hash.
    """

    def __init__(
        self,
        decided: Decided,
        submit: Callable[[ForwardRequest], Future[Outputs]],
        resources: ExitStack,
    ) -> None:
        self.decided = decided
        self._submit = submit
        self._resources = resources
        self._closed = False

    def embed(
        self,
        sequences: Iterable[str],
        layers: Sequence[int] = (-1,),
        pool: Literal["mean", "bos"] | None = "mean",
    ) -> Float | list[Float]:
        """Embeddings of proteins.

        Args:
            sequences: residues in upper case; `<mask>` is allowed.
            layers: 0 (embedding) .. N (last), negative from the end; k of them.
            pool: "mean" over residues (BOS and EOS excluded), "bos", or None for every residue.

        Returns:
            float32 (n, D) for one layer, (n, k, D) for several, in the order of `layers`. With
            pool=None a list of n arrays, (L, D) or (L, k, D).

        Raises:
            InvalidRequest: naming every sequence that cannot be used; nothing was computed.
            LayerOutOfRange: the model has no such layer.
        """
        if pool not in ("mean", "bos", None):
            raise ValueError(f"pool is {pool!r}; use 'mean', 'bos' or None")
        name = pool or "per_token"
        resolved = [self.decided.shape.layer(index) for index in layers]
        if not resolved:
            raise ValueError("layers is empty; ask for at least one, such as -1")
        want = Want(layers=tuple(sorted(set(resolved))), **{name: True})
        arrays = []
        for outputs in self._run(sequences, want, "any"):
            by_layer: dict[int, Float] = getattr(outputs, name)
            picked = [by_layer[layer] for layer in resolved]
            arrays.append(picked[0] if len(picked) == 1 else np.stack(picked, axis=-2))
        if pool is None:
            return arrays
        if not arrays:
            k = () if len(resolved) == 1 else (len(resolved),)
            return np.empty((0, *k, self.decided.shape.dim), dtype=np.float32)
        return np.stack(arrays)

    def encode(
        self,
        sequences: Iterable[str],
        include: Sequence[OutputName] = ("mean",),
        layers: Sequence[int] = (-1,),
    ) -> list[Outputs]:
        """Everything the HTTP API's encode gives.

        Args:
            sequences: residues in upper case, no `<mask>`.
            include: any of mean, per_token, bos, logits, contacts, attentions.
            layers: of mean, per_token and bos; negative from the end.

        Returns:
            `Outputs` for each sequence; logits are (L, 20), columns `alphabet.AMINO_ACIDS`.

        Raises:
            InvalidRequest, LayerOutOfRange, ContactsUnavailable.
        """
        if isinstance(include, str) or not set(include) <= set(get_args(OutputName)):
            raise ValueError(f"include is {include!r}; use a list of {get_args(OutputName)}")
        resolved = {self.decided.shape.layer(index) for index in layers}
        flags = dict.fromkeys(include, True)
        want = Want(layers=tuple(sorted(resolved)), **flags)
        return [_twenty_columns(outputs) for outputs in self._run(sequences, want, "none")]

    def predict(self, sequences: Iterable[str]) -> list[Float]:
        """Logits of masked sequences.

        Args:
            sequences: residues in upper case with one `<mask>` or more.

        Returns:
            float32 (L, 20) for each sequence, columns `alphabet.AMINO_ACIDS`, raw logits.

        Raises:
            InvalidRequest: naming every sequence that cannot be used.
        """
        outputs = (_twenty_columns(o) for o in self._run(sequences, Want(logits=True), "some"))
        return [own.logits for own in outputs if own.logits is not None]

    def log_prob(self, sequences: Iterable[str]) -> Float:
        """Approximate log-probability of proteins, from one pass with nothing masked.

        Args:
            sequences: residues in upper case, no `<mask>`.

        Returns:
            float32 (n,), natural logarithms; `scoring.log_prob` has the formula.

        Raises:
            InvalidRequest: naming every sequence that cannot be used.
        """
        given = tokenize_all(sequences, masks="none")
        outputs = self._run((sequence for sequence, _ in given), Want(logits=True), "none")
        values = [
            log_prob(own.logits, tokens)
            for (_, tokens), own in zip(given, outputs, strict=True)
            if own.logits is not None
        ]
        return np.array(values, dtype=np.float32)

    def close(self) -> None:
        """Unload the model; using it afterwards raises ValueError."""
        self._closed = True
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

    def _run(self, sequences: Iterable[str], want: Want, masks: Masks) -> Iterator[Outputs]:
        if self._closed:
            raise ValueError("the model is closed")
        if want.contacts and not self.decided.contacts:
            raise ContactsUnavailable(self.decided.slug)
        given = tokenize_all(sequences, masks=masks)  # nothing is computed if any is faulty
        records = (Record(str(i), "", sequence, i + 1) for i, (sequence, _) in enumerate(given))
        for done in bulk.embed(
            records,
            want,
            self._submit,
            max_residues=sys.maxsize,
            in_flight_tokens=_PACKS_IN_FLIGHT * self.decided.pack_tokens,
        ):
            if isinstance(done.result, RequestError):
                raise done.result
            yield done.result


def _twenty_columns(outputs: Outputs) -> Outputs:
    if outputs.logits is None:
        return outputs
    return replace(outputs, logits=np.ascontiguousarray(outputs.logits[:, AMINO_ACID_COLUMNS]))
