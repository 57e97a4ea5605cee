"""ESM-2 by the native library: weights laid out once, then one call for each pack.

    ESM2 (torch)  ->  panels of weights  ->  forward(pack)  ->  layer -> (T, D)

Bit for bit the same numbers for a sequence whatever else is in the pack.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from esm2.alphabet import MASK, TOKENS
from esm2.engine import model as torch_model
from esm2.engine.mapped import let_go
from esm2.engine.model import ESM2, Block
from esm2.engine.native import library
from esm2.engine.native.library import Kernels
from esm2.engine.pack import Pack
from esm2.engine.readout import MapReader

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # of weights; int8 has scales too
_ROWS_PER_THREAD = 4  # fewer are done before a thread has started


class NativeESM2:
    """A checkpoint in the layout of the native library.

    Of calls that overlap, one at most may go ahead, and one at most may not.

    Args:
        model: the checkpoint, float32; its tensors are copied, those of a mapped file let go.
        kernels: what computes.
        threads: how many at most.
    """

    def __init__(self, model: ESM2, kernels: Kernels, threads: int) -> None:
        self._kernels = kernels
        self._threads = threads
        self._kept: list[Tensor] = []  # what the structs point to
        empty = torch.empty(0, dtype=torch.uint8)
        self._workspaces = {False: empty, True: empty}  # of passes that go ahead: True
        self._depth = model.shape.layers
        self._dim = model.shape.dim
        self._token_dropout = model.token_dropout
        self._rotaries = model.rotaries
        self._rotary_of = [block.rotary for block in model.blocks]
        embedding = model.embedding.clone()
        if model.token_dropout:
            embedding[MASK] = 0
        contact = model.contact_head
        self._layers = (library.Layer * self._depth)(
            *(
                self._layer(block, contact.weight[index] if contact else None)
                for index, block in enumerate(model.blocks)
            )
        )
        self._model = library.Model(
            layers=model.shape.layers,
            dim=model.shape.dim,
            heads=model.shape.heads,
            eps=model.final_norm.eps,
            embedding=self._keep(embedding),
            layer=self._layers,
            final_norm=self._norm(model.final_norm),
        )
        head = model.language_head
        self._head = None if head is None else self._language_head(head)

    def forward(
        self,
        pack: Pack,
        keep: Collection[int],
        depth: int,
        maps: Sequence[MapReader | None],
        rows: Tensor | None,
        *,
        ahead: bool = False,
    ) -> dict[int, Tensor]:
        """Run the first `depth` layers; the same as `ESM2.forward`.

        Args:
            pack: the sequences.
            keep: the layers 0..depth whose hidden states are wanted.
            depth: how many layers to run, 0..N.
            maps: who reads each sequence's attention maps.
            rows: int32, ascending: the rows that are wanted of layer `depth`; None for all.
            ahead: passes that are not ahead stop until this one is done.

        Returns:
            layer -> float32 (T, D); rows of layer `depth` that were not wanted are not set.
        """
        count = len(pack.token_ids)
        tokens = pack.token_ids.to(torch.uint8)
        starts = pack.offsets()
        scales = self._scales(pack)
        x = torch.empty(count, self._dim)
        kept = {layer: torch.empty(count, self._dim) for layer in keep}
        model, tables = self._turned(pack.longest)
        watch = (library.Watch * len(maps))(*map(self._watch, maps))
        job = library.Job(
            sequences=len(pack.lengths),
            depth=depth,
            threads=self._threads_for(count),
            ahead=ahead,
            starts=starts.data_ptr(),
            tokens=tokens.data_ptr(),
            scales=scales.data_ptr(),
            x=x.data_ptr(),
            keep=(ctypes.c_void_p * (depth + 1))(
                *(kept[layer].data_ptr() if layer in kept else None for layer in range(depth + 1))
            ),
            rows=None if rows is None else rows.data_ptr(),
            row_count=-1 if rows is None else len(rows),
            watch=watch if any(maps) else None,
        )
        needed = self._kernels.table.workspace(model, job)
        if len(self._workspaces[ahead]) < needed:
            self._workspaces[ahead] = torch.empty(needed, dtype=torch.uint8)
        job.workspace = self._workspaces[ahead].data_ptr()
        self._kernels.table.forward(model, job)
        del tables  # so long they had to live
        return kept

    def language_head(self, x: Tensor, *, ahead: bool = False) -> Tensor:
        """Hidden states of the last layer to logits: (rows, D) -> (rows, 33); `ahead` as above."""
        assert self._head is not None, "refused by Engine.run"
        x = x.contiguous()
        scratch = torch.empty_like(x)
        out = torch.empty(len(x), self._head.columns)
        job = library.HeadJob(
            rows=len(x),
            threads=self._threads_for(len(x)),
            ahead=ahead,
            x=x.data_ptr(),
            scratch=scratch.data_ptr(),
            out=out.data_ptr(),
        )
        self._kernels.table.language_head(self._head, job)
        return out[:, : len(TOKENS)]

    def _watch(self, reader: MapReader | None) -> library.Watch:
        if reader is None:
            return library.Watch()
        contacts, attentions = reader.buffers()
        maps = None
        if kept := reader.kept:
            heads = self._model.heads
            maps = (ctypes.c_void_p * (self._depth * heads))()
            for (layer, head), own in kept.items():
                maps[layer * heads + head] = own.data_ptr()
        return library.Watch(
            None if contacts is None else contacts.data_ptr(),
            None if attentions is None else attentions.data_ptr(),
            maps,
        )

    def _threads_for(self, rows: int) -> int:
        return max(1, min(self._threads, rows // _ROWS_PER_THREAD))

    def _scales(self, pack: Pack) -> Tensor:
        """What each sequence's embeddings are multiplied by."""
        if not self._token_dropout:
            return torch.ones(len(pack.lengths))
        return torch_model.embedding_scale(pack)

    def _turned(self, longest: int) -> tuple[library.Model, list[tuple[Tensor, Tensor]]]:
        """The model whose layers point to the cosines and sines of their positions, and these."""
        tables = [rotary.tables(longest) for rotary in self._rotaries]
        layers = type(self._layers).from_buffer_copy(self._layers)
        for layer, rotary in zip(layers, self._rotary_of, strict=True):
            layer.cos, layer.sin = (table.data_ptr() for table in tables[rotary])
        model = library.Model.from_buffer_copy(self._model)
        model.layer = layers
        return model, tables

    def _keep(self, tensor: Tensor) -> int:
        """The address of a float32 copy that lives as long as the model."""
        own = tensor.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)
        self._kept.append(own)
        return own.data_ptr()

    def _norm(self, norm: torch_model.Norm) -> library.Norm:
        return library.Norm(self._keep(norm.weight), self._keep(norm.bias))

    def _layer(self, block: Block, contact_weights: Tensor | None) -> library.Layer:
        layer = library.Layer(
            attention_norm=self._norm(block.attention_norm),
            ffn_norm=self._norm(block.ffn_norm),
            qkv=self._linear(block.query, block.key, block.value),
            out=self._linear(block.out),
            up=self._linear(block.up),
            down=self._linear(block.down),
            contact_weights=None if contact_weights is None else self._keep(contact_weights),
        )
        copied = (block.query, block.key, block.value, block.out, block.up, block.down)
        let_go(linear.weight for linear in copied)
        return layer

    def _language_head(self, head: torch_model.LanguageHead) -> library.LanguageHead:
        panel = self._kernels.table.panel
        columns = -(-len(TOKENS) // panel) * panel
        missing = columns - len(TOKENS)
        output = torch_model.Linear(
            torch.nn.functional.pad(head.output.weight, (0, 0, 0, missing)),
            torch.nn.functional.pad(head.output.bias, (0, missing)),
        )
        return library.LanguageHead(
            dim=self._dim,
            columns=columns,
            eps=head.norm.eps,
            dense=self._linear(head.dense, dtype="float32"),
            output=self._linear(output, dtype="float32"),
            norm=self._norm(head.norm),
        )

    def _linear(self, *linears: torch_model.Product, dtype: str | None = None) -> library.Linear:
        """Weights (N, K) in panels, as gemm.h reads them; several side by side."""
        dtype = dtype or self._kernels.dtype
        bias = self._keep(torch.cat([linear.bias for linear in linears]))
        weights = [linear.weight for linear in linears]
        if dtype != "int8":
            return library.Linear(self._panels(weights, _DTYPES[dtype]), bias)
        # Each output's largest weight becomes 127.
        scales = [weight.abs().amax(1) / 127 for weight in weights]
        whole = [
            (weight / scale.clamp_min(1e-30)[:, None]).round()
            for weight, scale in zip(weights, scales, strict=True)
        ]
        offsets = torch.cat([(128 * rows.sum(1)).to(torch.int32) for rows in whole])
        self._kept.append(offsets)
        panels = self._panels(whole, torch.int8)
        return library.Linear(panels, bias, self._keep(torch.cat(scales)), offsets.data_ptr())

    def _panels(self, weights: Sequence[Tensor], dtype: torch.dtype) -> int:
        panel, per_word = self._kernels.table.panel, 4 // dtype.itemsize
        rows, columns = sum(len(weight) for weight in weights), weights[0].shape[1]
        words = columns // per_word
        missing = -words % self._kernels.table.whole if dtype == torch.int8 else 0
        panels = torch.zeros(rows // panel, words + missing, panel, per_word, dtype=dtype)
        parts = torch.split(panels, [len(weight) // panel for weight in weights])
        for part, weight in zip(parts, weights, strict=True):
            part[:, :words].copy_(weight.view(-1, panel, words, per_word).transpose(1, 2))
        self._kept.append(panels)
        return panels.data_ptr()
