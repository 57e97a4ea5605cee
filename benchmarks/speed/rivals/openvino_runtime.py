"""OpenVINO, exported from transformers: one sequence a call, so nothing is padded.

latency      one request at a time, which has all cores
throughput   one stream a core, an asynchronous queue, the longest sequences first
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from benchmarks.speed import machine
from benchmarks.speed.rivals import graphs
from benchmarks.speed.rivals.rival import AMINO_ACIDS, Array, CannotRun


class _OpenVino:
    def __init__(self, checkpoint: Path, graph: str, precision: str, mode: str) -> None:
        self._checkpoint = checkpoint
        self._graph = graph
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": machine.cores(),
            "PERFORMANCE_HINT": mode.upper(),
        }
        self._streams = 1
        if mode == "throughput":
            self._streams = self._settings["NUM_STREAMS"] = machine.cores()
        if graph == "openvino-int8":
            self._settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 32
        self._queue: openvino.AsyncInferQueue | None = None
        self._loaded = ""

    def embed(self, proteins: Sequence[str]) -> Array:
        questions = [graphs.inputs(protein) for protein in proteins]
        return self._run("embeddings", questions, lambda hidden, _: hidden[0, 1:-1].mean(0))

    def contacts(self, protein: str) -> Array:  # noqa: ARG002
        raise CannotRun("the exported graph gives no attention maps")

    def scan(self, protein: str) -> Array:
        questions = [graphs.masked_inputs(protein, i) for i in range(len(protein))]
        # A copy: the tensor belongs to the request, which is used again.
        return self._run("logits", questions, lambda logits, i: logits[0, i + 1, AMINO_ACIDS] * 1)

    def _run(
        self, output: str, questions: list[list[Array]], read: Callable[[Array, int], Array]
    ) -> Array:
        """Ask every question.

        Args:
            read: takes what is wanted of question i from the graph's output, which it may not keep.
        """
        if self._loaded != output:
            self._load(output)
        assert self._queue is not None
        answers: dict[int, Array] = {}

        def done(request: openvino.InferRequest, i: int) -> None:
            answers[i] = read(request.get_output_tensor(0).data, i)

        self._queue.set_callback(done)
        for i in sorted(range(len(questions)), key=lambda i: -questions[i][0].size):
            self._queue.start_async(questions[i], i)
        self._queue.wait_all()
        return np.stack([answers[i] for i in range(len(questions))])

    def _load(self, output: str) -> None:
        """One graph at a time: each holds all the weights."""
        self._queue = None
        file = graphs.graph_file(self._checkpoint, output, self._graph)
        compiled = openvino.Core().compile_model(file, "CPU", self._settings)
        self._queue = openvino.AsyncInferQueue(compiled, self._streams)
        self._loaded = output


def load(checkpoint: Path, graph: str, precision: str, mode: str) -> _OpenVino:
    return _OpenVino(checkpoint, graph, precision, mode)
