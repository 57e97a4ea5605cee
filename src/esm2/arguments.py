"""What a program hands to a model, here or on a server: checked once, in one way.

    sequences, variants   str in an order: a list, tuple, generator, numpy array or pandas Series
    layers                a whole number, or several in an order
    include               names of outputs
    layers and pool       Embedding: what embed is to compute, and the shape of what it returns
    layers and heads      Maps: the same of attention_maps
    top_k, offset, ...    a whole number, numpy's too

What could be meant in two ways is a TypeError that says what to pass instead: one str (or each of
its letters?), a mapping (its names or its values?), a set (in which order?).
"""

from __future__ import annotations

import io
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import product
from numbers import Real
from typing import Any, Literal, SupportsIndex, get_args

import numpy as np

from esm2 import pooling
from esm2.catalog import Shape
from esm2.errors import RequestError
from esm2.types import KINDS, Float, OutputName, Want

Pool = Literal["mean", "max", "min", "bos"]
Layers = SupportsIndex | Iterable[SupportsIndex]
Heads = Layers | None


def texts(values: object, name: str) -> list[str]:
    """The values of an argument that takes many texts, such as sequences, in their order.

    Args:
        name: of the argument.

    Raises:
        TypeError: it is something else; it says what and where.
    """
    if isinstance(values, str):
        raise TypeError(f"{name} is one str; pass a list of {name}")
    if isinstance(values, io.IOBase):
        raise TypeError(f"{name} is an open file; read it and pass a list of {name}")
    listed = _in_order(values, name, "str")
    for index, value in enumerate(listed):
        if not isinstance(value, str):
            raise TypeError(f"{name}[{index}] is {_kind(value)}, not str{_advice(value, name)}")
    return listed


def check_one_of(value: object, known: object, name: str) -> None:
    """Refuse what is not one of the words of a Literal.

    Raises:
        ValueError: it says which there are.
    """
    if value not in get_args(known):
        raise ValueError(f"{name} is {value!r}; use one of {', '.join(get_args(known))}")


def kinds(include: Iterable[OutputName]) -> tuple[OutputName, ...]:
    """The outputs asked for, each once, in the order of `types.KINDS`.

    Raises:
        ValueError: there is none, or one that there is not.
        TypeError: it is a mapping, or nothing with several values.
    """
    if isinstance(include, str):
        raise ValueError(f"include is {include!r}; use a list of {KINDS}")
    if isinstance(include, Mapping) or not isinstance(include, Iterable):
        raise TypeError(f"include is {_kind(include)}; pass a list of {', '.join(KINDS)}")
    asked = list(include)
    if not asked or any(kind not in KINDS for kind in asked):
        raise ValueError(f"include is {asked!r}; use a list of {KINDS}")
    return tuple(kind for kind in KINDS if kind in asked)


def layers(asked: Layers, shape: Shape) -> tuple[int, ...]:
    """Layers as asked for -> the same as 0..N, in the same order.

    Args:
        asked: one layer or several, 0 (embedding) .. N (last), negative from the end.

    Raises:
        LayerOutOfRange: the model has no such layer.
        TypeError, ValueError: it is no whole number, nor several of them.
    """
    return _numbers(asked, "layers", shape.layer)


def encoding(include: Iterable[OutputName], layers_asked: Layers, shape: Shape) -> Want:
    """What encode is to compute.

    Raises:
        LayerOutOfRange, TypeError, ValueError: as `kinds` and `layers`.
    """
    asked = kinds(include)
    resolved = layers(layers_asked, shape)
    return Want.of(asked, tuple(sorted(set(resolved))))


@dataclass(frozen=True, slots=True)
class Embedding:
    """What embed is to compute, and the shape of what it returns.

    Attributes:
        kind: of output.
        reduction: what is made of it here.
        layers: 0..N, in the order asked for, repeats too; k of them.
        dim: D of the model.
    """

    kind: OutputName
    reduction: pooling.Reduction | None
    layers: tuple[int, ...]
    dim: int

    @classmethod
    def asked(cls, layers_asked: Layers, pool: Pool | None, shape: Shape) -> Embedding:
        """Of the arguments of embed.

        Raises:
            LayerOutOfRange, TypeError, ValueError: as `layers`; an unknown pool.
        """
        if pool not in (*get_args(Pool), None):
            raise ValueError(
                f"pool is {pool!r}; use {', '.join(map(repr, get_args(Pool)))} or None"
            )
        kind: OutputName = pool if pool in ("mean", "bos") else "per_token"
        reduction: pooling.Reduction | None = pool if pool in ("max", "min") else None
        return cls(kind, reduction, layers(layers_asked, shape), shape.dim)

    @property
    def want(self) -> Want:
        return Want.of([self.kind], tuple(sorted(set(self.layers))))

    def of(self, outputs: Any) -> Float:
        """One sequence's embedding in its `Outputs` or `Encoded`.

        Returns:
            (..., D), or (..., k, D) for several layers.
        """
        by_layer: Mapping[int, Float] = getattr(outputs, self.kind)
        picked = [by_layer[layer] for layer in self.layers]
        if self.reduction is not None:
            picked = [pooling.pool(own, self.reduction) for own in picked]
        return picked[0] if len(picked) == 1 else np.stack(picked, axis=-2)

    def together(self, rows: Sequence[Float]) -> Float | list[Float]:
        """All sequences' as one array, also of none; a list where every residue has its own."""
        if self.kind == "per_token" and self.reduction is None:
            return list(rows)
        if rows:
            return np.stack(rows)
        k = () if len(self.layers) == 1 else (len(self.layers),)
        return np.empty((0, *k, self.dim), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Maps:
    """What attention_maps is to compute, and the shape of what it returns.

    Attributes:
        layers: 1..N, in the order asked for, repeats too.
        heads: 0..H - 1, the same.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]

    @classmethod
    def asked(cls, layers_asked: Layers, heads: Heads, shape: Shape) -> Maps:
        """Of the arguments of attention_maps.

        Raises:
            LayerOutOfRange, HeadOutOfRange, TypeError, ValueError: as `layers`.
            RequestError: layer 0, the embedding, which has no attention.
        """
        asked = layers(layers_asked, shape)
        if 0 in asked:
            raise RequestError(
                "layer 0 is the embedding, which has no attention; take some of the layers 1 to"
                f" {shape.layers}, or -1 (last) to {-shape.layers} from the end"
            )
        if heads is None:
            return cls(asked, tuple(range(shape.heads)))
        return cls(asked, _numbers(heads, "heads", shape.head))

    @property
    def want(self) -> Want:
        return Want(maps=tuple(dict.fromkeys(product(self.layers, self.heads))))

    def of(self, outputs: Any) -> Float:
        """One sequence's maps in its `Outputs`, (layers, heads, L, L)."""
        maps: Float = outputs.maps
        asked = list(product(self.layers, self.heads))
        if len(asked) > len(maps):  # some of them more than once
            maps = maps[[self.want.maps.index(each) for each in asked]]
        return maps.reshape(len(self.layers), len(self.heads), *maps.shape[1:])


def whole(value: object, name: str, advice: str = "pass a whole number") -> int:
    """A whole number, Python's or numpy's, as Python's.

    Raises:
        TypeError: it is none; a bool and 1.0 are none either.
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} is a bool; {advice}")
    try:
        return operator.index(value)  # type: ignore[arg-type]  # it raises for what is none
    except TypeError:
        raise TypeError(f"{name} is {_kind(value)}; {advice}") from None


def seconds(value: object, name: str) -> float:
    """A time, 0 or more.

    Raises:
        TypeError: it is no number.
        ValueError: it is below 0, or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {_kind(value)}; pass a number of seconds")
    if not float(value) >= 0:
        raise ValueError(f"{name} is {value}; pass 0 seconds or more")
    return float(value)


def text(value: object, name: str, advice: str) -> str:
    """One str; what else there is, which may be a secret, is not shown.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_kind(value)}; {advice}")
    return value


def _kind(value: object) -> str:
    return type(value).__name__


def _numbers(asked: Layers, name: str, resolve: Callable[[int], int]) -> tuple[int, ...]:
    """One whole number or several, each resolved."""
    if isinstance(asked, int) or not isinstance(asked, Iterable):
        return (resolve(whole(asked, name)),)
    if isinstance(asked, str):
        raise TypeError(f"{name} is {asked[:20]!r}; pass a whole number or a list of them")
    if getattr(asked, "ndim", 1) == 0:  # a whole number of numpy's
        return (resolve(whole(asked, name)),)
    listed = _in_order(asked, name, "whole numbers")
    if not listed:
        raise ValueError(f"{name} is empty; ask for at least one")
    return tuple(resolve(whole(each, f"{name}[{i}]")) for i, each in enumerate(listed))


def _in_order(values: object, name: str, of: str) -> list[Any]:
    if isinstance(values, Mapping):
        raise TypeError(
            f"{name} is a mapping ({_kind(values)}); pass list(its.values()): the results come in"
            " that order"
        )
    if isinstance(values, Set):
        raise TypeError(f"{name} is a {_kind(values)}, which has no order; pass a list of {of}")
    if isinstance(values, bytes | bytearray | memoryview) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is {_kind(values)}; pass a list of {of}")
    dimensions = getattr(values, "ndim", 1)
    if dimensions != 1:
        raise TypeError(
            f"{name} is {_kind(values)} of {dimensions} dimensions; pass one column, or a list of"
            f" {of}"
        )
    return list(values)


def _advice(value: object, name: str) -> str:
    if isinstance(value, bytes):
        return "; decode it, as in value.decode()"
    if isinstance(value, tuple):
        return f"; pass the {name} alone, without their names"
    if isinstance(value, list):
        return "; pass one flat list"
    return ""
