"""An engine in a process of its own, here or in a Ray cluster: it may die, hang or go wrong.

The one who asks never does.
"""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from esm2.errors import (
    CheckpointError,
    EngineCrashed,
    EngineError,
    EngineHung,
    ModelUnavailable,
    NotFinite,
)
from esm2.watch import Restart
from esm2.worker import Process
from tests.faults.engines import (
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


@EVERYWHERE
def test_it_computes_what_its_engine_does_small_and_large(worker):
    own = worker()
    sequences = [GOOD, "K", "AK" * (LARGE // 2)]
    for sequence, given in zip(sequences, logits(own, *sequences), strict=True):
        np.testing.assert_array_equal(given, expected(asking(sequence)))
        assert given.flags.writeable
    assert own.decided.slug == SLUG
    assert own.pid != os.getpid()


@EVERYWHERE
def test_what_it_has_loaded_is_not_looked_through_for_garbage_while_it_serves(worker, tmp_path):
    logits(worker(), GOOD)
    assert seen(tmp_path, "spared") == 1


@EVERYWHERE
@pytest.mark.parametrize(("name", "how"), [("die", "signal 9"), ("exit", "exit status 3")])
def test_a_child_that_dies_is_an_error_of_its_batch_and_is_replaced(
    worker, where, tmp_path, name, how
):
    own = worker()
    first = own.pid if own.decided else 0
    with pytest.raises(EngineCrashed) as caught:
        logits(own, command(name))
    # Ray does not know how a process of its own ended.
    assert where is not Process or caught.value.how == how
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))
    assert own.pid != first
    assert seen(tmp_path, "load") == 2
    assert own.restarts == [Restart(SLUG, "engine.crashed")]


def test_a_child_that_was_killed_while_it_had_nothing_to_do_is_no_error(worker):
    own = worker()
    logits(own, GOOD)
    os.kill(own.pid, signal.SIGKILL)
    until(lambda: own._child.ended, "it does not end")
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))
    assert own.restarts == [Restart(SLUG, "engine.crashed")]


@EVERYWHERE
def test_a_pass_that_hangs_is_killed_and_its_child_replaced(worker):
    own = worker(hung_seconds=0.5)
    with pytest.raises(EngineHung) as caught:
        logits(own, command("hang"))
    assert 0.5 <= caught.value.seconds < PATIENCE
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))
    assert own.restarts == [Restart(SLUG, "engine.hung")]


def test_a_child_that_was_stopped_is_taken_for_one_that_hangs(worker):
    own = worker(hung_seconds=0.5)
    assert own.decided
    os.kill(own.pid, signal.SIGSTOP)
    with pytest.raises(EngineHung):
        logits(own, "K" * LARGE)
    assert logits(own, GOOD)


@EVERYWHERE
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [("nan", NotFinite, "NaN"), ("bug", EngineError, "ZeroDivisionError: by zero")],
)
def test_what_the_engine_raises_arrives_and_the_child_lives_on(worker, name, error, words):
    own = worker()
    pid = own.pid if own.decided else 0
    with pytest.raises(error, match=words) as caught:
        logits(own, command(name))
    assert type(caught.value) is error
    assert logits(own, GOOD)
    assert own.pid == pid
    assert own.restarts == []


@EVERYWHERE
def test_after_a_fault_that_makes_everything_fail_the_child_is_replaced(worker, capfd):
    own = worker()
    with pytest.raises(EngineError, match="the device is gone"):
        logits(own, command("break"))
    until(lambda: own._child.ended, "it does not end")
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))
    assert own.restarts == [Restart(SLUG, "engine.crashed")]
    assert "Traceback" not in capfd.readouterr().err


@EVERYWHERE
def test_whatever_loading_raises_is_told(worker):
    with pytest.raises(EngineError, match=r"OSError: GLIBC_2\.99 not found"):
        _ = worker(unlucky=(1,)).decided


def test_weights_that_cannot_be_read_are_told_as_they_are_without_a_child(worker, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        _ = worker(weights=tmp_path / "gone").decided


@EVERYWHERE
def test_a_child_that_is_killed_while_it_loads_is_replaced_before_anything_is_refused(
    worker, tmp_path
):
    own = worker(killed=(2, 3))
    with pytest.raises(EngineCrashed):
        logits(own, command("die"))
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))
    assert seen(tmp_path, "load") == 4
    assert own.restarts == [Restart(SLUG, "engine.crashed")]


@EVERYWHERE
def test_what_is_always_killed_while_it_loads_is_refused_until_it_is_tried_again(worker, tmp_path):
    own = worker(killed=(2, 3, 4))
    with pytest.raises(EngineCrashed):
        logits(own, command("die"))
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="ended while it loaded"):
            logits(own, GOOD)
    assert seen(tmp_path, "load") == 4
    own._not_before = 0.0  # as if the pause were over
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))


def test_where_no_process_can_be_started_it_is_refused_until_it_is_tried_again(
    worker, where, caplog
):
    started = 0

    def start(load):
        nonlocal started
        started += 1
        if started == 2:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return where(load)

    own = worker(start=start)
    logits(own, GOOD)
    os.kill(own.pid, signal.SIGKILL)
    until(lambda: own._child.ended, "it does not end")
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="no process can be started for it: Resource"):
            logits(own, GOOD)
    assert started == 2  # the second answer came without another try
    own._not_before = 0.0  # as if the pause were over
    assert logits(own, GOOD)
    assert f"the process that computes {SLUG} is gone (engine.crashed, signal 9)" in caplog.text


@EVERYWHERE
def test_weights_that_changed_on_disk_are_not_served_under_the_old_name(worker, tmp_path):
    weights = tmp_path / "weights"
    weights.write_text("a" * 64)
    own = worker(weights=weights)
    assert own.decided.weights_sha256 == "a" * 64
    weights.write_text("b" * 64)
    with pytest.raises(EngineCrashed):
        logits(own, command("die"))
    with pytest.raises(ModelUnavailable, match="weights changed on disk") as caught:
        logits(own, GOOD)
    assert caught.value.retry_after >= 1
    with pytest.raises(ModelUnavailable, match="weights changed on disk"):
        logits(own, GOOD)
    assert seen(tmp_path, "load") == 2  # the second answer came without another try


def test_weights_that_are_gone_are_tried_again_and_served_when_they_are_back(worker, tmp_path):
    weights = tmp_path / "weights"
    weights.write_text("a" * 64)
    own = worker(weights=weights)
    assert own.decided
    weights.unlink()
    with pytest.raises(EngineCrashed):
        logits(own, command("die"))
    with pytest.raises(ModelUnavailable, match="no such file"):
        logits(own, GOOD)
    weights.write_text("a" * 64)
    own._not_before = 0.0  # as if the pause were over
    np.testing.assert_array_equal(logits(own, GOOD)[0], expected(asking(GOOD)))


def test_closing_ends_the_child(worker):
    own = worker()
    assert own.decided
    own.close()
    until(lambda: own._child.ended, "it does not end")


def test_a_child_that_hangs_is_killed_when_the_worker_is_closed(worker, monkeypatch):
    monkeypatch.setattr("esm2.worker._ENDING", 0.1)
    own = worker()
    assert own.decided
    os.kill(own.pid, signal.SIGSTOP)
    status = Path(f"/proc/{own.pid}/status")
    until(lambda: "State:\tT" in status.read_text(), "it does not stop")
    own.close()
    until(lambda: own._child.ended, "it is not killed")


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_for_the_whole_group_does_not_end_the_child(worker, with_signal):
    own = worker()
    pid = own.pid if own.decided else 0
    os.kill(own.pid, with_signal)
    assert logits(own, GOOD)
    assert own.pid == pid
