"""What tests of the batcher share: requests of a cost, and executors that are held up."""

import threading

import numpy as np

from esm2.batcher import Batcher, Budget
from esm2.types import ForwardRequest, Outputs, Want

PATIENCE = 20.0  # seconds until a test gives up on a thread; nothing waits for as long as that
WANT = Want(layers=(1,), mean=True)


def request(cost):
    """A request of that cost."""
    return ForwardRequest(np.zeros(cost, dtype=np.uint8), WANT)


def cost_of(asked):
    return len(asked.tokens)


def answers(requests):
    """Each request's own cost as its output."""
    return [Outputs(mean={1: np.array([cost_of(own)], np.float32)}) for own in requests]


def value(future):
    return future.result(PATIENCE).mean[1].item()


class Busy:
    """A batcher whose executor is held up by a first request until `release`.

    Attributes:
        batches: what was computed after it, as lists of costs.
    """

    def __init__(self, compute=answers, *, pack_tokens=100, queue_tokens=10**9, **how):
        self._compute = compute
        self._started, self._released = threading.Event(), threading.Event()
        self.batches = []
        budget = Budget(pack_tokens, queue_tokens, **how)
        self.batcher = Batcher([self._run], cost_of, budget, name="test")
        self.first = self.batcher.submit(request(1))
        assert self._started.wait(PATIENCE)

    def _run(self, requests):
        if not self._started.is_set():
            self._started.set()
            assert self._released.wait(PATIENCE)
            return answers(requests)
        self.batches.append([cost_of(own) for own in requests])
        return self._compute(requests)

    def submit(self, *costs):
        return [self.batcher.submit(request(cost)) for cost in costs]

    def release(self):
        self._released.set()

    def finish(self):
        """Let everything be computed."""
        self.release()
        self.batcher.close(drain=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()
        self.batcher.close(drain=False)


class Held:
    """An executor that can be held."""

    def __init__(self):
        self._free, self.started = threading.Event(), threading.Event()
        self._free.set()

    def __call__(self, requests):
        self.started.set()
        assert self._free.wait(PATIENCE)
        return answers(requests)

    def hold(self):
        self.started.clear()
        self._free.clear()

    def release(self):
        self._free.set()


def fails_on(cost, error):
    """An executor that raises when a request of that cost is in its batch."""

    def executor(requests):
        if cost in map(cost_of, requests):
            raise error
        return answers(requests)

    return executor
