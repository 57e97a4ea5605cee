"""The only values that cross layers.

    ForwardRequest = tokens of one sequence + Want
    Executor       = list[ForwardRequest] -> list[Outputs]        the seam

A local engine, an engine in another process and a function in a test are values of the one type
`Executor`. Nothing here knows about HTTP, files or torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from esm2.catalog import CAVEATS, Shape

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Want:
    """What to compute for a sequence.

    Attributes:
        layers: layers 0..N of the embeddings asked for, ascending, never negative.
        mean, per_token, bos: the embeddings asked for at each of those layers.
        logits, contacts, attentions: the other outputs asked for.
        masks_only: of logits, only the rows of masked residues.
    """

    layers: tuple[int, ...] = ()
    mean: bool = False
    per_token: bool = False
    bos: bool = False
    logits: bool = False
    contacts: bool = False
    attentions: bool = False
    masks_only: bool = False

    @property
    def needs_attention_weights(self) -> bool:
        """Whether attention maps must exist as numbers, which fused kernels never write out."""
        return self.contacts or self.attentions

    @property
    def embedded_layers(self) -> tuple[int, ...]:
        """The layers whose hidden states are needed; none where no embedding is asked for."""
        return self.layers if self.mean or self.per_token or self.bos else ()

    @property
    def described(self) -> str:
        """The outputs asked for, for a sentence."""
        kinds = ("mean", "per_token", "bos", "logits", "contacts", "attentions")
        return ", ".join(kind for kind in kinds if getattr(self, kind)) or "nothing"

    def depth(self, layers: int) -> int:
        """How many of the model's layers have to run."""
        if self.logits or self.needs_attention_weights:
            return layers
        return max(self.embedded_layers, default=0)


@dataclass(frozen=True, slots=True, eq=False)
class ForwardRequest:
    """One sequence and what to compute for it.

    Attributes:
        tokens: uint8 (L + 2,), BOS and EOS included.
    """

    tokens: NDArray[np.uint8]
    want: Want


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What was computed for one sequence: float32 numpy on the host, residues only.

    Attributes:
        mean: layer -> (D,), mean over the L residues.
        per_token: layer -> (L, D).
        bos: layer -> (D,), the BOS token.
        logits: (L, 33) raw logits; (masks, 33) where only those of masked residues were asked for.
        contacts: (L, L) probabilities, symmetric.
        attentions: (N, L) mean over heads and over the L + 2 query tokens.
    """

    mean: dict[int, Float] = field(default_factory=dict)
    per_token: dict[int, Float] = field(default_factory=dict)
    bos: dict[int, Float] = field(default_factory=dict)
    logits: Float | None = None
    contacts: Float | None = None
    attentions: Float | None = None


Executor = Callable[[list[ForwardRequest]], list[Outputs]]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a FASTA file.

    Attributes:
        id: first word of the header.
        header: the whole header.
        sequence: residues, as written, joined over its lines.
        line: 1-based line of the header in the file.
        source: the file, where there are several; else empty.
    """

    id: str
    header: str
    sequence: str
    line: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided when a model was loaded: logged once and served at /info.

    Attributes:
        slug: the name under which it answers.
        shape: layers, dimension, heads.
        device: "cpu", "cuda:0", ...
        dtype: of the products, "float32", "bfloat16", "int8", "float16".
        kernel: what computes: "native-" and an instruction set, "torch-onednn" or "torch-sdpa".
        weights_sha256: sha256 of the weight file (of the list of hashes, if there are several).
        weights_kind: "official" (hash as published), "demo", or "custom".
        contacts: whether the checkpoint has a contact head.
        pack_tokens: cost budget of one forward pass, in tokens.
        threads: of the native library; 0 where torch computes.
        batch_invariant: whether a sequence has the same bits in any company; where it has not, its
            numbers may move by what docs/numerics.md says.
    """

    slug: str
    shape: Shape
    device: str
    dtype: str
    kernel: str
    weights_sha256: str
    weights_kind: str
    contacts: bool
    pack_tokens: int
    threads: int
    batch_invariant: bool = False

    @property
    def caveat(self) -> str:
        """What has to be said wherever its numbers are shown; empty for published weights."""
        return CAVEATS[self.weights_kind]
