"""The native library: found, asked what this CPU can do, its structs.

    ctypes  ->  libesm2.so  ->  Kernels of one instruction set and dtype

The library is built with the package (hatch_build.py) and never required: without it, or on a CPU
or a model that it does not know, the torch path computes, and says so.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import torch

from esm2.catalog import Shape
from esm2.errors import EngineError

LIBRARY = Path(__file__).parent / "libesm2.so"

_INSTRUCTION_SETS = ("amx", "avx512bf16", "avx512", "avx2")  # the best first
_ALLOWED = {"DEFAULT": (), "AVX2": ("avx2",)}  # by torch's name of what the CPU can do
_HEAD_DIMS = (16, 24, 32, 64)
_DIM_MULTIPLE = 32  # whole vectors and panels

_Pointer = ctypes.c_void_p


class Norm(ctypes.Structure):
    _fields_ = (("weight", _Pointer), ("bias", _Pointer))


class Linear(ctypes.Structure):
    _fields_ = (
        ("panels", _Pointer),
        ("bias", _Pointer),
        ("scales", _Pointer),
        ("offsets", _Pointer),
    )


class Layer(ctypes.Structure):
    _fields_ = (
        ("attention_norm", Norm),
        ("ffn_norm", Norm),
        ("qkv", Linear),
        ("out", Linear),
        ("up", Linear),
        ("down", Linear),
        ("cos", _Pointer),
        ("sin", _Pointer),
        ("contact_weights", _Pointer),
    )


class Model(ctypes.Structure):
    _fields_ = (
        ("layers", ctypes.c_int32),
        ("dim", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("eps", ctypes.c_float),
        ("embedding", _Pointer),
        ("layer", ctypes.POINTER(Layer)),
        ("final_norm", Norm),
    )


class Watch(ctypes.Structure):
    _fields_ = (
        ("contacts", _Pointer),
        ("attentions", _Pointer),
        ("maps", ctypes.POINTER(_Pointer)),
    )


class Job(ctypes.Structure):
    _fields_ = (
        ("sequences", ctypes.c_int32),
        ("depth", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("ahead", ctypes.c_int32),
        ("starts", _Pointer),
        ("tokens", _Pointer),
        ("scales", _Pointer),
        ("x", _Pointer),
        ("keep", ctypes.POINTER(_Pointer)),
        ("rows", _Pointer),
        ("row_count", ctypes.c_int64),
        ("watch", ctypes.POINTER(Watch)),
        ("workspace", _Pointer),
    )


class LanguageHead(ctypes.Structure):
    _fields_ = (
        ("dim", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("eps", ctypes.c_float),
        ("dense", Linear),
        ("output", Linear),
        ("norm", Norm),
    )


class HeadJob(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("ahead", ctypes.c_int32),
        ("x", _Pointer),
        ("scratch", _Pointer),
        ("out", _Pointer),
    )


class _Table(ctypes.Structure):
    # CFUNCTYPE releases the interpreter's lock for the time of the call.
    _fields_ = (
        ("panel", ctypes.c_int32),
        ("per_word", ctypes.c_int32),
        ("whole", ctypes.c_int32),
        (
            "workspace",
            ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.POINTER(Model), ctypes.POINTER(Job)),
        ),
        ("forward", ctypes.CFUNCTYPE(None, ctypes.POINTER(Model), ctypes.POINTER(Job))),
        (
            "language_head",
            ctypes.CFUNCTYPE(None, ctypes.POINTER(LanguageHead), ctypes.POINTER(HeadJob)),
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """The functions of one instruction set for one dtype.

    Attributes:
        name: "native-avx512bf16", ...: what is said at /info.
        dtype: "float32", "bfloat16" or "int8".
    """

    name: str
    dtype: str
    table: _Table


def available(shape: Shape, dtype: str) -> list[Kernels]:
    """The kernels that this CPU and the library have for a model, the best first."""
    if shape.dim % _DIM_MULTIPLE or shape.head_dim not in _HEAD_DIMS:
        return []
    return [
        Kernels(f"native-{isa}", dtype, table)
        for isa in instruction_sets()
        if (table := _kernels(isa, dtype)) is not None
    ]


def instruction_sets() -> list[str]:
    """Those that the library was built for and this CPU has, the best first.

    None beyond what torch may use: ATEN_CPU_CAPABILITY holds this library back as it does torch.
    """
    library = _library()
    if library is None:
        return []
    allowed = _ALLOWED.get(torch.backends.cpu.get_cpu_capability(), _INSTRUCTION_SETS)
    return [isa for isa in allowed if library.esm2_has(isa.encode())]


def _kernels(isa: str, dtype: str) -> _Table | None:
    library = _library()
    assert library is not None
    table = library.esm2_kernels(dtype.encode(), isa.encode())
    return table.contents if table else None


@functools.cache
def _library() -> ctypes.CDLL | None:
    if not LIBRARY.exists():
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise EngineError(
            f"{LIBRARY} cannot be loaded ({error}); build it anew (make native), or remove it: then"
            " torch computes"
        ) from error
    library.esm2_abi.restype = ctypes.c_uint64
    sizes = 0
    for struct in (Layer, Job, Watch, Model, LanguageHead, HeadJob, _Table):
        sizes = (sizes * 4099 + ctypes.sizeof(struct)) % 2**64
    if library.esm2_abi() != sizes:
        raise EngineError(f"{LIBRARY} was built from other sources; build it anew: make native")
    library.esm2_has.argtypes = (ctypes.c_char_p,)
    library.esm2_has.restype = ctypes.c_int
    library.esm2_kernels.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    library.esm2_kernels.restype = ctypes.POINTER(_Table)
    return library
