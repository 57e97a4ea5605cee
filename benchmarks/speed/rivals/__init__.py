"""The engines that are compared, each the way its users run it, each in a process of its own.

    esm2-*                    esm2.load(...): embed, encode, predict
    fair-esm                  esm-extract's batches: sorted, 4096 tokens; its scan is one by one
    transformers              batches of 8 in the order given, sdpa; contacts need eager attention
    transformers-sorted       the same, sorted by length
    onnxruntime               exported from transformers, one sequence a call
    esm.cpp-*                 one sequence a call; its scan in packs; int8 without calibration
    openvino-*-latency        exported from transformers, one sequence a call on all cores
    openvino-*-throughput     one sequence a call, one stream a core, the longest first
      -int8-                  weights int8, activations quantised as they come, the rest bfloat16
      -int8-static-           weights and activations int8, calibrated with random proteins

A further engine is a row here and a module that has `load(checkpoint, **options)` -> Rival.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """How an engine is started.

    Attributes:
        module: in this package.
        dtype: of its matrix products: which peak it is measured against.
        graph: the export that it loads, if it does not load the checkpoint itself.
        options: for the module's `load`.
    """

    module: str
    dtype: str
    graph: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def _openvino(dtype: str, graph: str, precision: str, mode: str) -> Entry:
    options = {"graph": graph, "precision": precision, "mode": mode}
    return Entry("openvino_runtime", dtype, graph, options)


OURS = ("esm2-float32", "esm2-bfloat16", "esm2-int8")

ENGINES: dict[str, Entry] = {
    **{name: Entry("ours", dtype := name[5:], options={"dtype": dtype}) for name in OURS},
    "fair-esm": Entry("fair_esm", "float32"),
    "transformers": Entry("hugging_face", "float32", options={"order": "given"}),
    "transformers-sorted": Entry("hugging_face", "float32", options={"order": "sorted"}),
    "onnxruntime": Entry("onnx_runtime", "float32", "onnx"),
    "esm.cpp-float32": Entry("esm_cpp_runtime", "float32", options={"dtype": "float32"}),
    "esm.cpp-int8": Entry("esm_cpp_runtime", "int8", options={"dtype": "int8"}),
    **{
        f"openvino-{name}-{mode}": _openvino(dtype, graph, precision, mode)
        for name, dtype, graph, precision in (
            ("float32", "float32", "openvino", "f32"),
            ("bfloat16", "bfloat16", "openvino", "bf16"),
            ("int8", "int8", "openvino-int8", "bf16"),
            ("int8-static", "int8", "openvino-int8-static", "bf16"),
        )
        for mode in ("latency", "throughput")
    },
}
