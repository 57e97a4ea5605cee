"""Assembly: named tensors -> ESM2, every tensor checked for being there and for its shape.

    embedding (33, D)          layers.i.{query,key,value,out}  D -> D      head.{dense,norm}, bias
    inv_freq (head_dim / 2,)   layers.i.{up,down}  D -> 4 D -> D           contact (1, N H), (1,)

Strict: a missing, extra or misshapen tensor is an error that names it. Only the contact head and
the language head may be absent, as a whole, and then what they give is refused when asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from esm2.alphabet import TOKENS
from esm2.engine.config import Config
from esm2.engine.contacts import ContactHead
from esm2.engine.model import ESM2, Block, LanguageHead, Linear, Norm
from esm2.engine.names import NamedTensors
from esm2.engine.rotary import Rotary
from esm2.errors import CheckpointError

# Frequencies are stored rounded: to float16 in the official files, perhaps to bfloat16 in others.
_ROUNDING = 0.01


def assemble(config: Config, named: NamedTensors, device: torch.device) -> ESM2:
    """Build the float32 model, each tensor moved to its device (nothing is copied that fits).

    Raises:
        CheckpointError: a tensor is missing, extra, misshapen, or contradicts the configuration.
    """
    for name, tensor in named.tensors.items():
        if not tensor.is_floating_point():
            reason = (
                f"tensor {named.spelling.get(name, name)} is {tensor.dtype}, not floating point"
            )
            raise CheckpointError(named.path, reason)
    moved = {name: tensor.to(device, torch.float32) for name, tensor in named.tensors.items()}
    return _Parts(config, named, moved).model()


class _Parts:
    """Takes each tensor once; what is left over in the end is extra."""

    def __init__(self, config: Config, named: NamedTensors, tensors: dict[str, Tensor]) -> None:
        self._config = config
        self._named = named
        self._tensors = tensors
        self._rotaries: list[Rotary] = []

    def model(self) -> ESM2:
        shape = self._config.shape
        embedding = self._take("embedding", len(TOKENS), shape.dim)
        shared = self._take_optional("inv_freq", shape.head_dim // 2)
        model = ESM2(
            shape=shape,
            embedding=embedding,
            token_dropout=self._config.token_dropout,
            blocks=tuple(self._block(f"layers.{i}", shared) for i in range(shape.layers)),
            rotaries=tuple(self._rotaries),
            final_norm=self._norm("final_norm"),
            language_head=self._language_head(embedding),
            contact_head=self._contact_head(),
        )
        assert not self._tensors, "rename() let through a name that nothing takes"
        return model

    def _block(self, name: str, shared: Tensor | None) -> Block:
        dim = self._config.shape.dim
        return Block(
            attention_norm=self._norm(f"{name}.attention_norm"),
            query=self._linear(f"{name}.query", dim, dim),
            key=self._linear(f"{name}.key", dim, dim),
            value=self._linear(f"{name}.value", dim, dim),
            out=self._linear(f"{name}.out", dim, dim),
            rotary=self._rotary(f"{name}.inv_freq", shared),
            ffn_norm=self._norm(f"{name}.ffn_norm"),
            up=self._linear(f"{name}.up", dim, 4 * dim),
            down=self._linear(f"{name}.down", 4 * dim, dim),
        )

    def _rotary(self, name: str, shared: Tensor | None) -> int:
        """The index of a layer's inv_freq among the distinct ones; all layers mostly agree."""
        own = self._take_optional(name, self._config.shape.head_dim // 2)
        inv_freq = shared if own is None else own
        if inv_freq is None:
            raise self._error(f"missing tensor {self._spelled(name)}: it is never guessed")
        self._check_base(name, inv_freq)
        for index, known in enumerate(self._rotaries):
            if torch.equal(known.inv_freq, inv_freq):
                return index
        self._rotaries.append(Rotary(inv_freq))
        return len(self._rotaries) - 1

    def _check_base(self, name: str, inv_freq: Tensor) -> None:
        """Refuse frequencies that cannot come from the base that the configuration says."""
        base, pairs = self._config.rope_theta, len(inv_freq)
        if base is None:
            return
        made = base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        if not torch.allclose(inv_freq.double().cpu(), made, rtol=_ROUNDING, atol=0):
            raise self._error(
                f"tensor {self._spelled(name)} differs from what rope_theta {base:g} in the"
                " configuration gives"
            )

    def _language_head(self, embedding: Tensor) -> LanguageHead | None:
        shape = self._config.shape
        if not any(name == "output" or name.startswith("head.") for name in self._tensors):
            return None
        output = self._take_optional("output", len(TOKENS), shape.dim)
        if output is None:
            if not self._config.tied:
                name = self._spelled("output")
                raise self._error(f"missing tensor {name}: the configuration says it is not tied")
            output = embedding
        elif self._config.tied and not torch.equal(output, embedding):
            raise self._error(
                f"tensor {self._spelled('output')} differs from the embedding, though the"
                " configuration says that they are tied (tie_word_embeddings)"
            )
        return LanguageHead(
            dense=self._linear("head.dense", shape.dim, shape.dim),
            norm=self._norm("head.norm"),
            output=Linear(output, self._take("head.bias", len(TOKENS))),
        )

    def _contact_head(self) -> ContactHead | None:
        shape = self._config.shape
        weight = self._take_optional("contact.weight", 1, shape.layers * shape.heads)
        bias = self._take_optional("contact.bias", 1)
        if weight is None and bias is None:
            return None
        if weight is None or bias is None:
            raise self._error("has half a contact head: its weight or its bias is missing")
        return ContactHead(weight.view(shape.layers, shape.heads), bias[0])

    def _linear(self, name: str, inputs: int, outputs: int) -> Linear:
        return Linear(
            self._take(f"{name}.weight", outputs, inputs), self._take(f"{name}.bias", outputs)
        )

    def _norm(self, name: str) -> Norm:
        dim = self._config.shape.dim
        weight, bias = self._take(f"{name}.weight", dim), self._take(f"{name}.bias", dim)
        return Norm(weight, bias, self._config.eps)

    def _take(self, name: str, *shape: int) -> Tensor:
        tensor = self._take_optional(name, *shape)
        if tensor is None:
            raise self._error(f"missing tensor {self._spelled(name)} {shape}")
        return tensor

    def _take_optional(self, name: str, *shape: int) -> Tensor | None:
        tensor = self._tensors.pop(name, None)
        if tensor is None:
            return None
        if (found := tuple(tensor.shape)) != shape:
            raise self._error(f"misshapen tensor {self._spelled(name)}: {found}, expected {shape}")
        # Fused attention kernels can turn NaN into plain numbers, so it must not get that far.
        if not torch.stack(torch.aminmax(tensor)).isfinite().all():
            raise self._error(f"tensor {self._spelled(name)} holds NaN or infinity")
        return tensor

    def _spelled(self, name: str) -> str:
        """A tensor's name as the checkpoint's own layout writes it."""
        return self._named.spelling.get(name, name)

    def _error(self, reason: str) -> CheckpointError:
        return CheckpointError(self._named.path, reason)
