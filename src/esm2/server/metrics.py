"""Figures for whoever runs a server, in Prometheus's format, at /metrics.

    batchers, workers  -> Event ──┐
    routes             -> counted ├──> a registry of this app's own ──> /metrics
    queues             -> read when asked

No label has a value that a caller can choose: models, actions and codes are ours, and a caller is
the name that whoever runs the server gave a token.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from fastapi import Response
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from esm2.batcher import Batcher
from esm2.watch import Event, Pass

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """The figures of one server. It is a `watch.Watch`: told of passes and restarts as they happen.

    Counting may be done from any thread.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, registry=registry)

        def histogram(
            name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
        ) -> Histogram:
            return Histogram(name, meaning, labels, registry=registry, buckets=buckets)

        self._pass_seconds = histogram(
            "esm2_pass_seconds",
            "A forward pass, from the call of the engine to its answer",
            "model",
        )
        self._pass_tokens = histogram(
            "esm2_pass_tokens", "Tokens of a forward pass", "model", buckets=_TOKENS
        )
        self._pass_waited = histogram(
            "esm2_pass_waited_seconds", "What the oldest request of a pass had waited", "model"
        )
        self._tokens = counter(
            "esm2_tokens_total",
            "Tokens that went through the model; its rate is the speed",
            "model",
        )
        self._failed = counter(
            "esm2_passes_failed_total", "Forward passes that failed, by code", "model", "code"
        )
        self._restarts = counter(
            "esm2_restarts_total", "Worker processes that were replaced", "model", "reason"
        )
        self._requests = counter("esm2_requests_total", "Requests answered", "action", "status")
        self._request_seconds = histogram(
            "esm2_request_seconds", "A request, until the last byte of its reply", "action"
        )
        self._serialize = histogram(
            "esm2_serialize_seconds", "Making the bytes of a reply out of arrays", "action"
        )
        self._refusals = counter("esm2_refusals_total", "Requests refused or failed", "code")
        self._residues = counter(
            "esm2_residues_total", "Residues of the forward passes made for", "model", "caller"
        )

    def __call__(self, event: Event) -> None:
        """Count what happened in the engines."""
        if not isinstance(event, Pass):
            self._restarts.labels(event.slug, event.reason).inc()
            return
        if event.failed:
            self._failed.labels(event.slug, event.failed).inc()
            return
        self._pass_seconds.labels(event.slug).observe(event.seconds)
        self._pass_tokens.labels(event.slug).observe(event.tokens)
        self._pass_waited.labels(event.slug).observe(event.waited)
        self._tokens.labels(event.slug).inc(event.tokens)

    def asked(self, model: str, caller: str, residues: int) -> None:
        """Count what was computed for a caller."""
        self._residues.labels(model, caller).inc(residues)

    def answered(self, action: str, status: int, code: str, seconds: float) -> None:
        """Count a request that has its answer."""
        self._requests.labels(action, status).inc()
        self._request_seconds.labels(action).observe(seconds)
        if code:
            self._refusals.labels(code).inc()

    def timed(self, pieces: Iterator[bytes], action: str) -> Iterator[bytes]:
        """The pieces of a reply, and how long the making of them took when they are all made."""
        spent = 0.0
        while True:
            begun = time.perf_counter()
            piece = next(pieces, None)
            spent += time.perf_counter() - begun
            if piece is None:
                break
            yield piece
        self._serialize.labels(action).observe(spent)

    def follow(self, batchers: Mapping[str, Batcher], held: Callable[[], int]) -> None:
        """Show these queues, and the memory that replies hold, from now on."""
        self.registry.register(_Now(batchers, held))

    def exposition(self) -> Response:
        """All of it, for Prometheus."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class _Now(Collector):
    """What is read at the moment it is asked for."""

    def __init__(self, batchers: Mapping[str, Batcher], held: Callable[[], int]) -> None:
        self._batchers = batchers
        self._held = held

    def collect(self) -> Iterator[Metric]:
        cost = GaugeMetricFamily(
            "esm2_queue_cost_tokens", "Cost that waits, in tokens", labels=["model"]
        )
        age = GaugeMetricFamily(
            "esm2_queue_age_seconds", "What the oldest request has waited", labels=["model"]
        )
        for slug, batcher in self._batchers.items():
            cost.add_metric([slug], batcher.queued)
            age.add_metric([slug], batcher.age)
        yield cost
        yield age
        yield GaugeMetricFamily(
            "esm2_reply_bytes", "Memory held for outputs until they are sent", self._held()
        )
        yield GaugeMetricFamily("esm2_threads", "Threads of the server", threading.active_count())
