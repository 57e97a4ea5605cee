"""The engine: a loaded checkpoint behind one function, `run`, which is an Executor.

    requests -> pack -> forward (as deep as they need) -> readout -> outputs

`run` computes whatever it is given in one forward pass; keeping a pack within its budget is the
batcher's work. A sequence's numbers never depend on the others of its pack (float32: 1e-5).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from esm2.catalog import DEMO_SLUG, find
from esm2.engine import attention, budget
from esm2.engine.attention import Observer
from esm2.engine.device import DTYPES, choose_device, choose_dtype
from esm2.engine.model import ESM2
from esm2.engine.pack import pack
from esm2.engine.readout import MapReader, read
from esm2.engine.weights import load_checkpoint
from esm2.errors import CheckpointError, ContactsUnavailable, EngineError
from esm2.types import Decided, ForwardRequest, Outputs


class Engine:
    """One checkpoint on one device. Calls to `run` must not overlap."""

    def __init__(self, model: ESM2, decided: Decided, device: torch.device) -> None:
        self._model = model
        self._device = device
        self.decided = decided

    @classmethod
    def load(
        cls,
        path: Path,
        slug: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        pack_tokens: int = 4096,
    ) -> Engine:
        """Load a checkpoint by memory map.

        Args:
            path: a Hugging Face directory, or fair-esm's X.pt.
            slug: the name it answers under; an official one must have the official shape.
            device: "auto" (cuda when there is one), "cpu", "cuda", "cuda:1", ...
            dtype: "auto" or "float32".
            pack_tokens: cost budget of a forward pass; only recorded here.

        Raises:
            CheckpointError: it is not an ESM-2 checkpoint, or not one of that slug's shape.
            SettingsError: no such device or dtype.
        """
        where, dtype = choose_device(device), choose_dtype(dtype)
        loaded = load_checkpoint(path, where, DTYPES[dtype])
        official = find(slug)
        shape = loaded.model.shape
        if official and official.shape != shape:
            raise CheckpointError(path, f"has {shape}, but {slug} has {official.shape}")
        published = {file.digest for file in official.files} if official else set()
        if official and published.issuperset(f"sha256:{digest}" for digest in loaded.sha256):
            kind = "official"
        else:
            kind = "demo" if slug == DEMO_SLUG else "custom"
        decided = Decided(
            slug=slug,
            shape=shape,
            device=str(where),
            dtype=dtype,
            kernel=attention.KERNEL,
            weights_sha256="+".join(loaded.sha256),
            weights_kind=kind,
            contacts=loaded.model.contact_head is not None,
            pack_tokens=pack_tokens,
        )
        return cls(loaded.model, decided, where)

    def cost(self, request: ForwardRequest) -> int:
        """What a request adds to a pack, in tokens."""
        return budget.cost(request, self.decided.shape)

    @torch.inference_mode()
    def run(self, requests: list[ForwardRequest]) -> list[Outputs]:
        """Compute every request in one forward pass.

        Args:
            requests: at least one; layers within 0..N.

        Returns:
            the outputs in the same order.

        Raises:
            ContactsUnavailable: contacts are wanted and there is no contact head.
            EngineError: out of memory, or numbers that are not finite.
        """
        model = self._model
        if model.contact_head is None and any(request.want.contacts for request in requests):
            raise ContactsUnavailable(self.decided.slug)
        packed = pack([request.tokens for request in requests], self._device)
        maps = [
            MapReader(model, request) if request.want.needs_attention_weights else None
            for request in requests
        ]

        def watch(layer: int) -> Sequence[Observer | None]:
            return [reader.observer(layer) if reader else None for reader in maps]

        keep = {layer for request in requests for layer in request.want.embedded_layers}
        if any(request.want.logits for request in requests):
            keep.add(model.shape.layers)
        depth = max(request.want.depth(model.shape.layers) for request in requests)
        try:
            hidden = model.forward(packed, keep, depth, watch)
            return read(model, requests, packed, hidden, maps)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            # torch's CPU allocator reports out of memory as a plain RuntimeError.
            raise EngineError(f"the forward pass failed: {str(error).splitlines()[0]}") from error
