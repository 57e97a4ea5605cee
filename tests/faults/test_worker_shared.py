"""A worker that computes for several at once: what goes ahead, and what shares a batch."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from esm2.batcher import Batcher, Budget
from esm2.errors import (
    EngineCrashed,
    EngineError,
    EngineHung,
    NotFinite,
)
from esm2.watch import Restart
from tests.faults.engines import (
    COMMANDS,
    EVERYWHERE,
    GOOD,
    LARGE,
    SLUG,
    asking,
    command,
    expected,
    logits,
    seen,
)
from tests.services import PATIENCE, until


@pytest.fixture
def hanging(worker, tmp_path):
    """A worker whose child hangs in a batch, and the future of that batch."""
    own = worker(gives_way=True, hung_seconds=3600.0)
    assert own.decided.gives_way
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(logits, own, command("hang"))
        until(lambda: seen(tmp_path, COMMANDS["hang"]), "it does not begin")
        yield own, future
        with suppress(ProcessLookupError):
            os.kill(own.pid, signal.SIGKILL)


@EVERYWHERE
def test_a_batch_goes_ahead_of_one_that_is_being_computed(hanging):
    own, behind = hanging
    for sequence in (GOOD, "K", "AK" * (LARGE // 2)):
        (given,) = own.ahead([asking(sequence)])
        np.testing.assert_array_equal(given.logits, expected(asking(sequence)))
    with pytest.raises(NotFinite):
        own.ahead([asking(command("nan"))])
    assert not behind.done()


def test_the_cpus_go_to_what_goes_ahead_first(hanging):
    """And to the server: what is behind is nicer than both."""
    own, _ = hanging
    threads = Path(f"/proc/{own.pid}/task").iterdir()
    nice = {thread.name: os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads}
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice.pop(str(own.pid)) == min(19, ours + 5)
    assert ours in nice.values()


def test_nothing_goes_ahead_to_a_child_that_was_not_looked_at_yet(worker, where):
    """Its weights may be others, its answers wrong."""
    refused = []

    class Another:
        """The second child, before it is asked who it is."""

        def __init__(self, child):
            self._child = child

        def __getattr__(self, name):
            return getattr(self._child, name)

        def receive(self, deadline):
            with pytest.raises(EngineCrashed) as caught:
                own.ahead([asking(GOOD)])
            refused.append(caught.value.how)
            return self._child.receive(deadline)

    children = []

    def start(load):
        children.append(where(load) if not children else Another(where(load)))
        return children[-1]

    own = worker(start=start, gives_way=True)
    logits(own, GOOD)
    os.kill(own.pid, signal.SIGKILL)
    until(lambda: own._child.ended, "it does not end")
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))
    assert refused == ["before it was asked"]
    assert own.ahead([asking(GOOD)])


@EVERYWHERE
def test_both_batches_are_lost_with_a_child_and_what_goes_ahead_starts_no_other(hanging, tmp_path):
    own, behind = hanging
    with pytest.raises(EngineCrashed):
        own.ahead([asking(command("die"))])
    assert isinstance(behind.exception(PATIENCE), EngineCrashed)
    with pytest.raises(EngineCrashed, match="before it was asked"):
        own.ahead([asking(GOOD)])
    assert seen(tmp_path, "load") == 1
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))
    assert own.restarts == [Restart(SLUG, "engine.crashed")]


def test_a_device_that_fails_a_batch_that_goes_ahead_ends_the_child(hanging):
    own, behind = hanging
    with pytest.raises(EngineError, match="the device is gone"):
        own.ahead([asking(command("break"))])
    assert isinstance(behind.exception(PATIENCE), EngineCrashed)


# --- behind the batcher ------------------------------------------------------------------------


@pytest.fixture
def batched(worker):
    """Submit sequences that share one batch; the outcome of each."""

    def run(*sequences, **how):
        own = worker(**how)
        assert own.decided
        batcher = Batcher([own], lambda request: len(request.tokens), Budget(10**6, 10**9))
        # All wait behind a first one, so they share a batch.
        first = batcher.submit(asking("A" * LARGE))
        futures = [batcher.submit(asking(sequence)) for sequence in sequences]
        first.result(PATIENCE)
        failures = [type(future.exception(PATIENCE)) for future in futures]
        for sequence, future in zip(sequences, futures, strict=True):
            if future.exception() is None:
                given = future.result().logits
                np.testing.assert_array_equal(given, expected(asking(sequence)))
        batcher.close()
        return failures

    return run


NONE = type(None)


@EVERYWHERE
def test_a_batch_whose_child_was_killed_from_outside_is_computed_all_the_same(batched):
    assert batched(GOOD, command("die"), GOOD, once=True) == [NONE, NONE, NONE]


@EVERYWHERE
def test_only_the_request_fails_of_which_children_die(batched):
    outcomes = batched(GOOD, "KKK", command("die"), GOOD, "K")
    assert outcomes == [NONE, NONE, EngineCrashed, NONE, NONE]


def test_only_the_request_fails_of_which_children_hang(batched):
    outcomes = batched(GOOD, command("hang"), "K", hung_seconds=2.0)
    assert outcomes == [NONE, EngineHung, NONE]


def test_only_the_request_fails_that_gives_nan(batched):
    outcomes = batched(GOOD, "K", command("nan"), GOOD)
    assert outcomes == [NONE, NONE, NotFinite, NONE]
