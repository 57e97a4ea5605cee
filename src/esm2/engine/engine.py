"""The engine: a loaded checkpoint behind one function, `run`, which is an Executor.

    requests -> pack -> forward (as deep as they need) -> readout -> outputs

`run` computes whatever it is given in one forward pass; keeping a pack within its budget is the
batcher's work. A sequence's numbers never depend on the others of its pack: to the bit where
`decided.batch_invariant` says so, elsewhere as docs/numerics.md says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from esm2.catalog import Shape, weights_kind
from esm2.engine import attention, onednn
from esm2.engine.attention import Observer
from esm2.engine.contacts import ContactHead
from esm2.engine.device import DTYPES, choose_device, choose_dtype, cpu_threads, has_bfloat16
from esm2.engine.mapped import let_go
from esm2.engine.model import ESM2, Linear, Product
from esm2.engine.native import library
from esm2.engine.native.library import Kernels
from esm2.engine.native.model import NativeESM2
from esm2.engine.pack import Pack, pack
from esm2.engine.readout import MapReader, read, wanted_rows
from esm2.engine.weights import load_checkpoint
from esm2.errors import EngineError, SettingsError
from esm2.types import Decided, ForwardRequest, Outputs

# Below this share of rows that are wanted of the last layer, it is computed for them alone.
_FEW_ROWS = 0.8

# Of tensors that are not used, how many are named.
_NAMES = 8


class Engine:
    """One checkpoint on one device.

    Calls to `run` must not overlap, but for one at a time that goes ahead of another.
    """

    def __init__(
        self,
        model: ESM2 | NativeESM2,
        contact_head: ContactHead | None,
        decided: Decided,
        device: torch.device,
    ) -> None:
        self._model = model
        self._contact_head = contact_head
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
        kernel: str = "auto",
        share: int = 1,
    ) -> Engine:
        """Load a checkpoint by memory map.

        Args:
            path: a Hugging Face directory, or fair-esm's X.pt.
            slug: the name it answers under.
            device: "auto" (cuda when there is one), "cpu", "cuda", "cuda:1", ...
            dtype: "auto" (float32), "float32", "bfloat16", "int8" (CPU), "float16" (CUDA).
            pack_tokens: cost budget of a forward pass; only recorded here.
            kernel: "auto", or one of `kernels_for` by name.
            share: how many processes like this one share the cores; threads are divided.

        Raises:
            CheckpointError: it is not an ESM-2 checkpoint.
            SettingsError: no such device, dtype or kernel.
        """
        torch.set_num_threads(max(1, cpu_threads() // share))
        where = choose_device(device)
        dtype = choose_dtype(dtype, where)
        loaded = load_checkpoint(path, where)
        shape = loaded.model.shape
        chosen = _choose_kernel(kernel, shape, where, dtype)
        native = isinstance(chosen, Kernels)
        decided = Decided(
            slug=slug,
            shape=shape,
            device=str(where),
            dtype=dtype,
            kernel=chosen.name if isinstance(chosen, Kernels) else chosen,
            weights_sha256="+".join(loaded.sha256),
            weights_kind=weights_kind(slug, loaded.sha256),
            contacts=loaded.model.contact_head is not None,
            pack_tokens=pack_tokens,
            threads=torch.get_num_threads() if native else 0,
            batch_invariant=batch_invariant(chosen),
            logits=loaded.model.language_head is not None,
            unused=_shortened(loaded.unused),
        )
        contacts = loaded.model.contact_head
        if not isinstance(chosen, Kernels):
            return cls(_by_torch(loaded.model, chosen, dtype), contacts, decided, where)
        if contacts:  # of its own, so that nothing holds the mapped file
            contacts = ContactHead(contacts.weight.clone(), contacts.bias.clone())
        return cls(NativeESM2(loaded.model, chosen, decided.threads), contacts, decided, where)

    @torch.inference_mode()
    def run(self, requests: list[ForwardRequest], *, ahead: bool = False) -> list[Outputs]:
        """Compute every request in one forward pass.

        Args:
            requests: at least one; layers within 0..N.
            ahead: a pass that is being computed stops for this one. Where `decided.gives_way`.

        Returns:
            the outputs in the same order.

        Raises:
            ContactsUnavailable, LogitsUnavailable: there is no head for what is wanted.
            EngineError: out of memory, or numbers that are not finite.
        """
        shape = self.decided.shape
        for request in requests:
            self.decided.check(request.want)
        keep = {layer for request in requests for layer in request.want.embedded_layers}
        if any(request.want.logits for request in requests):
            keep.add(shape.layers)
        depth = max(request.want.depth(shape.layers) for request in requests)
        try:
            packed = pack([request.tokens for request in requests], self._device)
            maps = [
                MapReader(shape, self._contact_head, self._device, request)
                if request.want.needs_attention_weights
                else None
                for request in requests
            ]
            hidden = self._forward(requests, packed, keep, depth, maps, ahead=ahead)
            head = self._model.language_head
            if isinstance(self._model, NativeESM2):
                head = partial(self._model.language_head, ahead=ahead)
            return read(requests, packed, hidden, maps, head)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            # torch's CPU allocator reports out of memory as a plain RuntimeError.
            reason = (str(error).splitlines() or ["out of memory"])[0]  # MemoryError says nothing
            raise EngineError(f"the forward pass failed: {reason}") from error

    def _forward(
        self,
        requests: list[ForwardRequest],
        packed: Pack,
        keep: set[int],
        depth: int,
        maps: list[MapReader | None],
        *,
        ahead: bool,
    ) -> dict[int, Tensor]:
        if isinstance(self._model, NativeESM2):
            rows = wanted_rows(requests, packed, depth, self.decided.shape.layers)
            few = len(rows) < _FEW_ROWS * len(packed.token_ids)
            rows_or_all = rows if few else None
            return self._model.forward(packed, keep, depth, maps, rows_or_all, ahead=ahead)

        def watch(layer: int) -> Sequence[Observer | None]:
            return [reader.observer(layer) if reader else None for reader in maps]

        return self._model.forward(packed, keep, depth, watch)


def kernels_for(shape: Shape, device: torch.device, dtype: str) -> list[Kernels | str]:
    """What can compute a model here, the best first: native kernels, then torch's by their names.

    torch-onednn   products by oneDNN on prepacked weights, float32 on the CPU
    torch-sdpa     products as torch makes them
    """
    on_cpu = device.type == "cpu"
    found: list[Kernels | str] = list(library.available(shape, dtype)) if on_cpu else []
    if on_cpu and dtype == "float32" and onednn.available():
        found.append(onednn.KERNEL)
    if dtype in DTYPES:
        found.append(attention.KERNEL)
    return found


def batch_invariant(kernel: Kernels | str) -> bool:
    """Whether it gives a sequence the same bits in any company and with any number of threads."""
    return isinstance(kernel, Kernels) or kernel == onednn.KERNEL


def _choose_kernel(name: str, shape: Shape, device: torch.device, dtype: str) -> Kernels | str:
    """The kernel to use.

    Raises:
        SettingsError: there is none for the dtype, or not the one that was asked for.
    """
    found = kernels_for(shape, device, dtype)
    if name == "auto" and dtype == "bfloat16" and device.type == "cpu" and not has_bfloat16():
        raise SettingsError(
            "this CPU has no instructions for bfloat16, which would be slower than float32 here;"
            " use float32 (--dtype)"
        )
    for kernel in found:
        if name in ("auto", kernel.name if isinstance(kernel, Kernels) else kernel):
            return kernel
    if not found:
        raise SettingsError(
            f"dtype {dtype} is computed only by the native library, which cannot on {device}"
            f" for {shape}: it needs a CPU with AVX-512 VNNI",
            "dtype",
        )
    raise SettingsError(f"kernel {name!r} cannot be used for {shape} in {dtype} on {device}")


def _by_torch(model: ESM2, kernel: str, dtype: str) -> ESM2:
    """The model as torch computes it: its products in a dtype, or by oneDNN."""
    if kernel != onednn.KERNEL:
        target = DTYPES[dtype]

        def cast(linear: Product) -> Product:
            return Linear(linear.weight.to(target), linear.bias.to(target))

        return replace(model, blocks=tuple(block.computed_by(cast) for block in model.blocks))

    def prepack(linear: Product) -> Product:
        packed = onednn.prepacked(linear.weight, linear.bias)
        let_go([linear.weight])
        return packed

    head = model.language_head
    if head is not None:
        head = replace(head, dense=prepack(head.dense), output=prepack(head.output))
    blocks = tuple(block.computed_by(prepack) for block in model.blocks)
    return replace(model, blocks=blocks, language_head=head)


def _shortened(names: Sequence[str]) -> str:
    """Names of tensors for a sentence."""
    shown = ", ".join(names[:_NAMES])
    return shown if len(names) <= _NAMES else f"{shown} and {len(names) - _NAMES} more"
