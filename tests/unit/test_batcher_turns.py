"""The batcher with several callers, several executors, and someone who watches."""

import threading

import pytest

from esm2.batcher import Batcher, Budget
from esm2.errors import EngineError, Overloaded
from tests.batching import PATIENCE, Busy, Held, answers, cost_of, fails_on, request, value


def test_the_wait_is_bounded_by_the_speed_that_was_measured():
    held = Held()
    batcher = Batcher([held], cost_of, Budget(10, 10**9, 1e-9))
    value(batcher.submit(request(3)))  # its speed is known now
    held.hold()
    running = batcher.submit(request(4))
    held.started.wait(PATIENCE)
    waiting = batcher.submit(request(5))
    with pytest.raises(Overloaded, match="would wait for") as caught:
        batcher.submit(request(6))
    assert caught.value.retry_after >= 1
    assert caught.value.wait > 0
    held.release()
    assert (value(running), value(waiting)) == (4, 5)
    batcher.close()


# --- several callers, several executors --------------------------------------------------------


def test_what_belongs_together_is_queued_as_a_whole_or_not_at_all():
    with Busy(pack_tokens=10, queue_tokens=20) as busy:
        (alone,) = busy.batcher.submit_all([request(15)])
        with pytest.raises(Overloaded):
            busy.batcher.submit_all([request(2), request(4)])
        assert busy.batcher.queued == 15
        two = busy.batcher.submit_all([request(2), request(3)])
        busy.finish()
        assert [value(own) for own in (alone, *two)] == [15, 2, 3]


def test_what_belongs_together_does_not_wait_for_itself():
    held = Held()
    batcher = Batcher([held], cost_of, Budget(10, 10**9, 1e-9))
    value(batcher.submit(request(3)))  # its speed is known now
    held.hold()
    running = batcher.submit(request(4))
    held.started.wait(PATIENCE)
    together = batcher.submit_all([request(5)] * 4)
    held.release()
    assert [value(own) for own in (running, *together)] == [4, 5, 5, 5, 5]
    batcher.close()


def test_callers_take_turns():
    with Busy(pack_tokens=4) as busy:
        for caller, costs in (("a", [4, 4, 4]), ("b", [4]), ("c", [2, 2])):
            for cost in costs:
                busy.batcher.submit(request(cost), caller=caller)
        busy.finish()
        assert busy.batches == [[4], [4], [2, 2], [4], [4]]


def test_a_caller_is_not_refused_for_what_others_have_waiting():
    with Busy(pack_tokens=10, queue_tokens=20) as busy:
        for cost in (9, 9):
            busy.batcher.submit(request(cost), caller="a")
        with pytest.raises(Overloaded):
            busy.batcher.submit(request(9), caller="a")
        busy.batcher.submit(request(9), caller="b")
        with pytest.raises(Overloaded):
            busy.batcher.submit(request(9), caller="b")


def test_who_left_is_no_longer_one_of_those_who_share_the_queue():
    with Busy(pack_tokens=10, queue_tokens=20) as busy:
        for future in busy.batcher.submit_all([request(9), request(9)], "a"):
            future.cancel()
        busy.batcher.submit(request(15), caller="b")
        busy.batcher.submit(request(5), caller="b")
        assert busy.batcher.queued == 20
        assert busy.batcher.age < PATIENCE


def test_of_several_executors_one_is_kept_free_of_what_is_longer_than_a_batch():
    one, other = Held(), Held()
    one.hold()
    other.hold()
    batcher = Batcher([one, other], cost_of, Budget(10, 10**9))
    first, second = (batcher.submit(request(50)) for _ in range(2))
    while not (one.started.is_set() or other.started.is_set()):
        one.started.wait(0.01)
    busy, free = (one, other) if one.started.is_set() else (other, one)
    free.release()
    assert value(batcher.submit(request(3))) == 3  # passes both by
    assert len(batcher.running()) == 1
    assert not second.done()
    busy.release()
    assert (value(first), value(second)) == (50, 50)
    batcher.close()


def test_several_executors_compute_at_once():
    barrier = threading.Barrier(3)

    def executor(requests):
        barrier.wait(PATIENCE)
        return answers(requests)

    batcher = Batcher([executor] * 3, cost_of, Budget(10, 10**9))
    futures = [batcher.submit(request(8)) for _ in range(3)]
    assert [value(future) for future in futures] == [8, 8, 8]
    batcher.close()


def test_whoever_watches_is_told_of_each_pass_and_of_what_failed():
    told = []
    batcher = Batcher(
        [fails_on(7, EngineError("NaN"))],
        cost_of,
        Budget(10, 10**9),
        name="mine",
        watch=told.append,
    )
    value(batcher.submit(request(3)))
    assert isinstance(batcher.submit(request(7)).exception(PATIENCE), EngineError)
    batcher.close()
    assert [(own.slug, own.requests, own.tokens, own.cost, own.failed) for own in told] == [
        ("mine", 1, 3, 3, ""),
        ("mine", 1, 7, 7, "engine.failed"),
    ]
    assert all(own.waited >= 0 and own.seconds >= 0 for own in told)


def test_the_age_of_the_queue_is_that_of_its_oldest_request():
    with Busy() as busy:
        assert busy.batcher.age == 0
        busy.submit(1, 2)
        first = busy.batcher.age
        assert 0 < first <= busy.batcher.age
        busy.finish()
        assert busy.batcher.age == 0
