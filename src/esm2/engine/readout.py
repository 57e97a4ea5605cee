"""Reading: hidden states and attention maps of a pack -> the Outputs of each sequence.

    tokens      <cls>  r1  r2 ... rL  <eos>
    bos          *
    per_token          *   *  ...  *             mean = their average
    attentions  rows: every token of the sequence; columns: residues only
    maps        rows and columns: residues only

Beside `alphabet.py`, only this module knows that BOS comes first and EOS last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from esm2.alphabet import MASK
from esm2.catalog import Shape
from esm2.engine.attention import Observer
from esm2.engine.contacts import ContactHead, ContactSum
from esm2.engine.model import Head
from esm2.engine.pack import Pack
from esm2.errors import NotFinite
from esm2.types import Float, ForwardRequest, Outputs

_RESIDUES = slice(1, -1)


class MapReader:
    """What one sequence wants from its attention maps, added up while the layers run.

    Attributes:
        kept: (layer, head), both from 0 -> float32 (L, L) on the host, of the maps asked for.
    """

    def __init__(
        self, shape: Shape, head: ContactHead | None, device: torch.device, request: ForwardRequest
    ) -> None:
        residues = len(request.tokens) - 2
        self._contacts: ContactSum | None = None
        self._attentions: Tensor | None = None
        if request.want.contacts:
            assert head is not None, "refused by Engine.run"
            self._contacts = ContactSum(head, residues)
        if request.want.attentions:
            self._attentions = torch.zeros(shape.layers, residues, device=device)
        self._heads = shape.heads
        asked = request.want.maps
        self._maps = torch.empty(len(asked), residues, residues) if asked else None
        self.kept: dict[tuple[int, int], Tensor] = {}
        if self._maps is not None:
            self.kept = {(n - 1, h): own for (n, h), own in zip(asked, self._maps, strict=True)}

    def observer(self, layer: int) -> Observer:
        """The observer of one attention layer, 0-based."""

        def see(first_head: int, weights: Tensor) -> None:
            if self._contacts is not None:
                self._contacts.add(layer, first_head, weights[:, _RESIDUES, _RESIDUES])
            if self._attentions is not None:
                # The mean over heads and over all L + 2 query tokens of this sequence.
                rows = self._heads * weights.shape[1]
                self._attentions[layer] += weights.sum((0, 1))[_RESIDUES] / rows
            for head, own in enumerate(weights, first_head):
                if (kept := self.kept.get((layer, head))) is not None:
                    kept.copy_(own[_RESIDUES, _RESIDUES])

        return see

    def buffers(self) -> tuple[Tensor | None, Tensor | None]:
        """Where contacts (`ContactSum.half`) and attentions (N, L) are added up by others."""
        return self._contacts.half if self._contacts else None, self._attentions

    def contacts(self) -> Float | None:
        return None if self._contacts is None else _host(self._contacts.probabilities(), "contacts")

    def attentions(self) -> Float | None:
        return None if self._attentions is None else _host(self._attentions, "attentions")

    def maps(self) -> Float | None:
        """Those kept, float32 (maps, L, L), in the order in which they were asked for."""
        if self._maps is None:
            return None
        maps: Float = self._maps.numpy()  # no copy: they may be most of the memory
        if not all(np.isfinite(own).all() for own in maps):
            raise NotFinite("attention maps")
        return maps


def wanted_rows(requests: Sequence[ForwardRequest], pack: Pack, layer: int, last: int) -> Tensor:
    """The rows of T that anybody reads of a layer's hidden states.

    Args:
        layer: 0..N.
        last: N, where logits are read.

    Returns:
        int32, ascending.
    """
    rows = []
    for request, span in zip(requests, pack.spans(), strict=True):
        tokens, want = request.tokens, request.want
        wanted = np.zeros(len(tokens), dtype=bool)
        if layer in want.embedded_layers:
            wanted[_RESIDUES] |= want.mean or want.per_token
            wanted[0] |= want.bos
        if want.logits and layer == last:
            wanted[_RESIDUES] |= tokens[_RESIDUES] == MASK if want.masks_only else True
        rows.append(np.flatnonzero(wanted) + span.start)
    return torch.from_numpy(np.concatenate(rows).astype(np.int32))


def read(
    requests: Sequence[ForwardRequest],
    pack: Pack,
    hidden: dict[int, Tensor],
    maps: Sequence[MapReader | None],
    head: Head | None,
) -> list[Outputs]:
    """The outputs of each request of a pack.

    Args:
        requests: in the order of the pack.
        hidden: layer -> (T, D), every layer that any request wants, N for logits.
        maps: the map reader of each request that has one, after the forward pass.
        head: the language head, where there is one.

    Raises:
        NotFinite: the model gave NaN or infinity.
    """
    logits = _logits(head, requests, pack, hidden)
    return [
        _read_one(request, {n: hidden[n][span] for n in request.want.embedded_layers}, seen, own)
        for request, span, seen, own in zip(requests, pack.spans(), maps, logits, strict=True)
    ]


def _read_one(
    request: ForwardRequest, rows: dict[int, Tensor], seen: MapReader | None, logits: Tensor | None
) -> Outputs:
    """One sequence: `rows` is layer -> (L + 2, D), `logits` is (L, 33)."""
    want = request.want
    return Outputs(
        mean={n: _host(_mean(x[_RESIDUES]), "mean") for n, x in rows.items() if want.mean},
        per_token={n: _host(x[_RESIDUES], "per_token") for n, x in rows.items() if want.per_token},
        bos={n: _host(x[0], "bos") for n, x in rows.items() if want.bos},
        logits=None if logits is None else _host(logits, "logits"),
        contacts=seen.contacts() if seen else None,
        attentions=seen.attentions() if seen else None,
        maps=seen.maps() if seen else None,
    )


def _mean(rows: Tensor) -> Tensor:
    """(L, D) -> (D,), summed in float64."""
    if rows.device.type != "cpu":
        return rows.mean(0, dtype=torch.float64)
    # By numpy: torch would wake its threads, which then stay awake beside the native library's.
    return torch.from_numpy(np.add.reduce(rows.numpy(), axis=0, dtype=np.float64) / len(rows))


def _logits(
    head: Head | None, requests: Sequence[ForwardRequest], pack: Pack, hidden: dict[int, Tensor]
) -> list[Tensor | None]:
    """(rows, 33) for each request that wants logits; the head runs once, on their rows only."""
    wanted = [request.want.logits for request in requests]
    if not any(wanted):
        return [None] * len(requests)
    assert head is not None, "refused by Engine.run"
    last = hidden[max(hidden)]
    rows = []
    for request, span in zip(requests, pack.spans(), strict=True):
        if request.want.logits:
            residues = last[span][_RESIDUES]
            if request.want.masks_only:
                residues = residues[torch.from_numpy(request.tokens[_RESIDUES] == MASK)]
            rows.append(residues)
    logits = iter(torch.split(head(torch.cat(rows)), [len(own) for own in rows]))
    return [next(logits) if want else None for want in wanted]


def _host(tensor: Tensor, output: str) -> Float:
    """A float32 numpy copy of its own: a view would keep the whole pack alive."""
    array = np.array(tensor.numpy(force=True), dtype=np.float32, order="C", copy=True)
    if not np.isfinite(array).all():
        raise NotFinite(output)
    return array
