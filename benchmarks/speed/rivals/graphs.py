"""The graphs that ONNX Runtime and OpenVINO load, exported from transformers once.

    python -m benchmarks.speed.rivals.graphs CHECKPOINT embeddings|logits FORMAT

    CHECKPOINT/graphs/embeddings-onnx/model.onnx
                      embeddings-openvino/model.xml               float32
                      embeddings-openvino-int8/model.xml          weights int8
                      embeddings-openvino-int8-static/model.xml   activations int8 too, calibrated

An export takes several times the memory of the model, so it is a process of its own. A graph that
is there is not made again; one that could not be finished is not there.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import workloads
from benchmarks.speed.rivals.rival import Array
from esm2.alphabet import MASK, tokenize

_CALIBRATION_PROTEINS = 32


def graph_file(checkpoint: Path, output: str, format_: str) -> Path:
    """Where a graph is, or will be."""
    name = "model.onnx" if format_ == "onnx" else "model.xml"
    return checkpoint / "graphs" / f"{output}-{format_}" / name


def inputs(protein: str) -> list[Array]:
    """What every graph takes: input_ids and attention_mask, int64 (1, L + 2)."""
    token_ids = tokenize(protein).astype(np.int64)[None]
    return [token_ids, np.ones_like(token_ids)]


def masked_inputs(protein: str, residue: int) -> list[Array]:
    """The same with one residue masked, 0-based."""
    token_ids, attention_mask = inputs(protein)
    token_ids[0, residue + 1] = MASK
    return [token_ids, attention_mask]


def export(checkpoint: Path, output: str, format_: str) -> None:
    """Make a graph and what it is made from, unless it is there."""
    file = graph_file(checkpoint, output, format_)
    if file.exists():
        return
    partial = file.parent.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if format_.startswith("openvino-"):
        export(checkpoint, output, "openvino")
        _quantise(graph_file(checkpoint, output, "openvino"), partial / file.name, format_)
    else:
        _export(checkpoint, output, partial / file.name)
    partial.rename(file.parent)


def _export(checkpoint: Path, output: str, file: Path) -> None:
    import torch
    from transformers import EsmForMaskedLM

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            model = EsmForMaskedLM.from_pretrained(checkpoint, attn_implementation="sdpa")
            self.model = model if output == "logits" else model.esm

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            outputs = self.model(input_ids=input_ids, attention_mask=attention_mask)
            return outputs.logits if output == "logits" else outputs.last_hidden_state

    graph = Graph().eval()
    # Two sequences, so that no dimension is taken for a constant 1.
    example = tuple(torch.from_numpy(array).repeat(2, 1) for array in inputs("MKTAYIAKQR"))
    with torch.no_grad():
        if file.suffix == ".onnx":
            _write_onnx(graph, example, file)
        else:
            import openvino

            # float32 as it is: the default would round the weights to float16.
            model = openvino.convert_model(graph, example_input=example)
            openvino.save_model(model, file, compress_to_fp16=False)


def _write_onnx(graph: Any, example: tuple[Any, ...], file: Path) -> None:
    import torch

    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        graph,
        example,
        str(file),  # beyond 2 GB the weights go into files beside it, which it only does for a str
        input_names=names,
        output_names=["output"],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in (*names, "output")},
        opset_version=17,
        dynamo=False,
    )


def _quantise(source: Path, target: Path, format_: str) -> None:
    """Compress as NNCF's guides do: the weights alone, or everything by calibration."""
    import nncf
    import openvino

    model = openvino.Core().read_model(source)
    if format_ == "openvino-int8":
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    else:
        # From the end of the mix: a limit keeps its beginning.
        proteins = workloads.find("mix").proteins[-_CALIBRATION_PROTEINS:]
        dataset = nncf.Dataset([inputs(protein) for protein in proteins])
        model = nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=_CALIBRATION_PROTEINS,
        )
    openvino.save_model(model, target, compress_to_fp16=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output")
    parser.add_argument("format")
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.output, arguments.format)


if __name__ == "__main__":
    main()
