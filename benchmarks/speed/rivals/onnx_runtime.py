"""ONNX Runtime, float32, exported from transformers: one sequence a call, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.speed import machine
from benchmarks.speed.rivals import graphs
from benchmarks.speed.rivals.rival import AMINO_ACIDS, Array, CannotRun


class _OnnxRuntime:
    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._session: onnxruntime.InferenceSession | None = None
        self._loaded = ""

    def embed(self, proteins: Sequence[str]) -> Array:
        hidden = (self._run("embeddings", graphs.inputs(protein)) for protein in proteins)
        return np.stack([states[0, 1:-1].mean(0) for states in hidden])

    def contacts(self, protein: str) -> Array:  # noqa: ARG002
        raise CannotRun("the exported graph gives no attention maps")

    def scan(self, protein: str) -> Array:
        rows = []
        for residue in range(len(protein)):
            logits = self._run("logits", graphs.masked_inputs(protein, residue))
            rows.append(logits[0, residue + 1, AMINO_ACIDS])
        return np.stack(rows)

    def _run(self, output: str, arrays: list[Array]) -> Array:
        if self._loaded != output:
            self._load(output)
        feed = dict(zip(("input_ids", "attention_mask"), arrays, strict=True))
        (result,) = self._session.run(None, feed)
        return result

    def _load(self, output: str) -> None:
        """One graph at a time: each holds all the weights."""
        self._session = None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = machine.cores()
        file = graphs.graph_file(self._checkpoint, output, "onnx")
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(file, options, providers=providers)
        self._loaded = output


def load(checkpoint: Path) -> _OnnxRuntime:
    return _OnnxRuntime(checkpoint)
