"""The only values that cross layers.

    ForwardRequest = tokens of one sequence + Want
    Executor       = list[ForwardRequest] -> list[Outputs]        the seam

A local engine, an engine in another process and a function in a test are values of the one type
`Executor`. Nothing here knows about HTTP, files or torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from esm2.catalog import CAVEATS, Shape
from esm2.errors import ContactsUnavailable, LogitsUnavailable

Float = NDArray[np.float32]

OutputName = Literal["mean", "per_token", "bos", "logits", "contacts", "attentions"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of output.

    Attributes:
        axes: of its array: L residues, D dimension and N layers of the model, V columns of logits.
        by_layer: whether each layer that is asked for has one, and no deeper layer has to run;
            for the others all have to.
    """

    axes: str
    by_layer: bool = False

    def shape(self, model: Shape, residues: int, columns: int = 33) -> tuple[int, ...]:
        """Of one array.

        Args:
            columns: of logits: 33 of an executor, 20 on the wire.
        """
        sizes = {"L": residues, "D": model.dim, "N": model.layers, "V": columns}
        return tuple(sizes[axis] for axis in self.axes)


#: Every kind: what goes over the wire, into files and into tables follows from here.
OUTPUTS: Mapping[OutputName, Kind] = {
    "mean": Kind("D", by_layer=True),
    "per_token": Kind("LD", by_layer=True),
    "bos": Kind("D", by_layer=True),
    "logits": Kind("LV"),
    "contacts": Kind("LL"),
    "attentions": Kind("NL"),
}
KINDS: tuple[OutputName, ...] = tuple(OUTPUTS)
#: Those that have one array for each layer.
BY_LAYER: tuple[OutputName, ...] = tuple(name for name in OUTPUTS if OUTPUTS[name].by_layer)
WHOLE: tuple[OutputName, ...] = tuple(name for name in OUTPUTS if not OUTPUTS[name].by_layer)


@dataclass(frozen=True, slots=True)
class Want:
    """What to compute for a sequence.

    Attributes:
        layers: layers 0..N of the embeddings asked for, ascending, never negative.
        mean, per_token, bos: the embeddings asked for at each of those layers.
        logits, contacts, attentions: the other outputs asked for.
        masks_only: of logits, only the rows of masked residues.
        maps: (layer 1..N, head 0..H - 1) of whole attention maps, each once.
    """

    layers: tuple[int, ...] = ()
    mean: bool = False
    per_token: bool = False
    bos: bool = False
    logits: bool = False
    contacts: bool = False
    attentions: bool = False
    masks_only: bool = False
    maps: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, kinds: Iterable[str], layers: tuple[int, ...] = ()) -> Want:
        """Outputs by their names, those of KINDS; `layers` as above."""
        return cls(layers, **dict.fromkeys(kinds, True))  # type: ignore[arg-type]  # bool, all of them

    @property
    def needs_attention_weights(self) -> bool:
        """Whether attention maps must exist as numbers, which fused kernels never write out."""
        return self.contacts or self.attentions or bool(self.maps)

    @property
    def embedded_layers(self) -> tuple[int, ...]:
        """The layers whose hidden states are needed; none where no embedding is asked for."""
        return self.layers if any(getattr(self, kind) for kind in BY_LAYER) else ()

    @property
    def described(self) -> str:
        """The outputs asked for, for a sentence."""
        asked: list[str] = [kind for kind in KINDS if getattr(self, kind)]
        if self.maps:
            asked.append(f"{len(self.maps)} attention maps")
        return ", ".join(asked) or "nothing"

    def depth(self, layers: int) -> int:
        """How many of the model's layers have to run."""
        if any(getattr(self, kind) for kind in WHOLE):
            return layers
        return max((*self.embedded_layers, *(layer for layer, _ in self.maps)), default=0)


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
    """What an executor computed for one sequence: float32 numpy on the host, residues only.

    Callers of `encode` get an `Encoded`, whose logits are the 20 amino acids'.

    Attributes:
        mean: layer -> (D,), mean over the L residues.
        per_token: layer -> (L, D).
        bos: layer -> (D,), the BOS token.
        logits: (L, 33) raw logits; (masks, 33) where only those of masked residues were asked for.
        contacts: (L, L) probabilities, symmetric.
        attentions: (N, L) mean over heads and over the L + 2 query tokens.
        maps: (maps, L, L) attention of residues (rows) to residues, in the order of `Want.maps`.
    """

    mean: dict[int, Float] = field(default_factory=dict)
    per_token: dict[int, Float] = field(default_factory=dict)
    bos: dict[int, Float] = field(default_factory=dict)
    logits: Float | None = None
    contacts: Float | None = None
    attentions: Float | None = None
    maps: Float | None = None

    @property
    def of_whole_pass(self) -> Float | None:
        """What `Decided.whole_pass` asked for."""
        return next(iter(self.mean.values()), None) if self.logits is None else self.logits

    def named(self) -> Iterator[tuple[str, Float]]:
        """Every array that is there, as "mean.33", "logits", ..., by layer first."""
        for kind in BY_LAYER:
            for layer, array in getattr(self, kind).items():
                yield f"{kind}.{layer}", array
        for name in (*WHOLE, "maps"):
            if (whole := getattr(self, name)) is not None:
                yield name, whole


class ByLayer(Mapping[int, Float]):
    """Layer -> array, read by 0..N or, as a layer may be asked for, by -1..-(N+1) from the end.

    Args:
        arrays: of some layers, by 0..N.
        layers: N of the model.
    """

    __slots__ = ("_arrays", "_layers")

    def __init__(self, arrays: Mapping[int, Float], layers: int) -> None:
        self._arrays = dict(arrays)
        self._layers = layers

    def __getitem__(self, layer: int) -> Float:
        from_end = isinstance(layer, SupportsIndex) and layer < 0
        found = self._arrays.get(layer + self._layers + 1 if from_end else layer)
        if found is None:
            there = ", ".join(map(str, self._arrays)) or "none"
            raise KeyError(f"layer {layer!r} was not asked for; there are: {there}")
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._arrays!r}, {self._layers})"


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What `encode` gives for one sequence, of a model here or on a server.

    float32 numpy, residues only; empty or None where it was not asked for.

    Attributes:
        mean: layer -> (D,), mean over the L residues; `mean[-1]` is the last layer's.
        per_token: layer -> (L, D).
        bos: layer -> (D,), the BOS token.
        logits: (L, 20) raw logits, columns `alphabet.AMINO_ACIDS`; an executor's are (L, 33).
        contacts: (L, L) probabilities, symmetric.
        attentions: (N, L) mean over heads and over the L + 2 query tokens.
    """

    mean: ByLayer
    per_token: ByLayer
    bos: ByLayer
    logits: Float | None = None
    contacts: Float | None = None
    attentions: Float | None = None


Executor = Callable[[list[ForwardRequest]], list[Outputs]]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a FASTA file, or of a Parquet table.

    Attributes:
        id: first word of the header.
        header: the whole header.
        sequence: residues, as written, joined over its lines.
        line: 1-based line of the header in the file; of a table, the row.
        source: the file, where there are several; else empty.
        unit: what `line` counts.
    """

    id: str
    header: str
    sequence: str
    line: int
    source: str = ""
    unit: Literal["line", "row"] = "line"

    @property
    def place(self) -> str:
        """Where it is in its file: "line 7", or "row 7" of a table."""
        return f"{self.unit} {self.line}"


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
        logits: whether the checkpoint has a language head.
        unused: names of tensors in the checkpoint that nothing here computes with.
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
    logits: bool = True
    unused: str = ""

    @property
    def gives_way(self) -> bool:
        """Whether a pass stops for one that goes ahead of it; torch cannot be stopped."""
        return self.threads > 0

    @property
    def whole_pass(self) -> Want:
        """The cheapest output for which everything of the model has to compute."""
        return Want(logits=True) if self.logits else Want((self.shape.layers,), mean=True)

    def unlike(self, other: Decided) -> str:
        """In what another engine is not this one, "kernel is X and was Y"; empty if in nothing.

        How many threads compute changes no number.
        """
        names = (field.name for field in fields(self) if field.name != "threads")
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        return next(
            (f"{name} is {own} and was {was}" for name, own, was in pairs if own != was), ""
        )

    def check(self, want: Want) -> None:
        """Refuse what the checkpoint has no head for.

        Raises:
            ContactsUnavailable, LogitsUnavailable.
        """
        if want.contacts and not self.contacts:
            raise ContactsUnavailable(self.slug)
        if want.logits and not self.logits:
            raise LogitsUnavailable(self.slug)

    @property
    def caveat(self) -> str:
        """What has to be said wherever its numbers are shown; empty for published weights."""
        return CAVEATS[self.weights_kind]
