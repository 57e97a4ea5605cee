"""The batcher over functions: who shares a batch, who is refused, who is never computed."""

import threading
from concurrent.futures import CancelledError, Future
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2.batcher import Batcher, Budget
from esm2.errors import EngineError, Overloaded, ShuttingDown
from esm2.types import Outputs
from tests.batching import PATIENCE, Busy, answers, cost_of, fails_on, request, value


@pytest.fixture
def batcher():
    """An idle batcher over `answers`, with a budget of 10."""
    with_budget = Batcher([answers], cost_of, Budget(10, 100))
    yield with_budget
    with_budget.close(drain=False)


# --- who shares a batch ------------------------------------------------------------------------


def test_a_lone_request_runs_at_once_and_alone():
    batches = []

    def executor(requests):
        batches.append(requests)
        return answers(requests)

    batcher = Batcher([executor], cost_of, Budget(10, 100))
    for cost in (3, 4):  # each is answered before the next one is there: nobody is waited for
        own = request(cost)
        assert value(batcher.submit(own)) == cost
        assert batches[-1] == [own]
    batcher.close()
    assert len(batches) == 2


def test_requests_that_queue_while_the_executor_is_busy_share_the_next_batch():
    with Busy(pack_tokens=10) as busy:
        futures = busy.submit(2, 3, 5)
        busy.finish()
        assert busy.batches == [[2, 3, 5]]
        assert [value(future) for future in futures] == [2, 3, 5]


def test_a_batch_is_filled_up_to_the_budget_oldest_first():
    with Busy(pack_tokens=10) as busy:
        busy.submit(4, 6, 1, 9, 2)
        busy.finish()
        assert busy.batches == [[4, 6], [1, 9], [2]]


def test_a_small_request_does_not_overtake_an_older_large_one():
    with Busy(pack_tokens=10) as busy:
        busy.submit(6, 5, 1)
        busy.finish()
        assert busy.batches == [[6], [5, 1]]


def test_a_request_above_the_budget_lets_what_is_short_pass_and_runs_alone():
    with Busy(pack_tokens=10) as busy:
        futures = busy.submit(1, 11, 2, 3)
        busy.finish()
        assert busy.batches == [[1, 2, 3], [11]]
        assert [value(future) for future in futures] == [1, 11, 2, 3]


def test_a_short_request_passes_by_all_of_its_caller_that_take_several_passes():
    def compute(requests):
        if len(busy.batches) == 3:
            short.append(busy.batcher.submit(request(10), caller="me"))
        return answers(requests)

    short = []
    with Busy(compute, pack_tokens=10) as busy:
        long = [busy.batcher.submit_all([request(8), request(8)], "me") for _ in range(3)]
        busy.release()
        assert [[value(own) for own in two] for two in long] == [[8, 8]] * 3
        assert value(*short) == 10
        assert busy.batches == [[8], [8], [8], [10], [8], [8], [8]]


def test_a_batch_is_filled_only_as_far_as_it_may_take_or_is_worth_a_pass():
    for seconds, batches in (
        (0.0, [[200, 300], [200, 200], [600], [1]]),
        (60.0, [[200, 300, 200, 200, 600, 1]]),
    ):
        with Busy(pack_tokens=4096, pass_seconds=seconds) as busy:
            busy.submit(200, 300, 200, 200, 600, 1)
            busy.finish()
            assert busy.batches == batches


def test_requests_of_several_threads_share_a_batch():
    with Busy(pack_tokens=100) as busy:
        threads = [threading.Thread(target=busy.submit, args=(cost,)) for cost in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        busy.finish()
        assert [sorted(batch) for batch in busy.batches] == [[1, 2, 3, 4, 5]]


# --- callers who leave -------------------------------------------------------------------------


def test_a_cancelled_request_is_never_computed():
    with Busy(pack_tokens=10) as busy:
        stays, leaves, stays_too = busy.submit(2, 3, 5)
        assert leaves.cancel()
        busy.finish()
        assert busy.batches == [[2, 5]]
        assert (value(stays), value(stays_too)) == (2, 5)
        assert leaves.cancelled()


def test_the_room_of_a_cancelled_request_is_given_to_others():
    with Busy(pack_tokens=10) as busy:
        leaves, *_ = busy.submit(9, 6, 4)
        leaves.cancel()
        busy.finish()
        assert busy.batches == [[6, 4]]


def test_who_leaves_gives_its_room_back_before_the_queue_gets_there():
    with Busy(pack_tokens=10, queue_tokens=12) as busy:
        stays, leaves = busy.submit(5, 7)
        with pytest.raises(Overloaded):
            busy.submit(3)
        leaves.cancel()
        assert busy.batcher.queued == 5
        comes = busy.submit(3)[0]
        busy.finish()
        assert [value(stays), value(comes)] == [5, 3]


def test_when_everyone_has_left_nothing_is_computed():
    with Busy() as busy:
        for future in busy.submit(1, 2, 3):
            future.cancel()
        busy.finish()
        assert busy.batches == []


def test_a_request_that_is_being_computed_can_no_longer_be_cancelled():
    with Busy() as busy:
        assert not busy.first.cancel()
        busy.release()
        assert value(busy.first) == 1


# --- the queue's bound -------------------------------------------------------------------------


def test_a_full_queue_refuses_with_its_numbers_and_keeps_what_it_has():
    with Busy(pack_tokens=10, queue_tokens=12) as busy:
        futures = busy.submit(7, 5)
        with pytest.raises(Overloaded) as caught:
            busy.submit(1)
        assert (caught.value.queued, caught.value.limit) == (12, 12)
        assert "12 of 12 tokens" in str(caught.value)
        assert caught.value.retry_after >= 1
        assert busy.batcher.queued == 12
        busy.finish()
        assert [value(future) for future in futures] == [7, 5]


def test_what_is_being_computed_does_not_count_as_waiting():
    with Busy(queue_tokens=12) as busy:
        assert busy.batcher.queued == 0
        busy.submit(7)
        assert busy.batcher.queued == 7


def test_the_queue_takes_requests_again_when_it_has_room():
    with Busy(queue_tokens=5) as busy:
        (waiting,) = busy.submit(5)
        with pytest.raises(Overloaded):
            busy.submit(1)
        busy.release()
        value(waiting)
        assert value(busy.submit(5)[0]) == 5


def test_an_empty_queue_takes_anything():
    with Busy(pack_tokens=10, queue_tokens=5) as busy:
        (large,) = busy.submit(1000)
        with pytest.raises(Overloaded):
            busy.submit(1)
        busy.finish()
        assert value(large) == 1000


def test_first_goes_ahead_of_everyone_and_is_never_refused():
    with Busy(pack_tokens=3, queue_tokens=6) as busy:
        busy.submit(3, 3)
        with pytest.raises(Overloaded):
            busy.submit(2)
        probe = busy.batcher.submit(request(2), first=True)
        busy.finish()
        assert busy.batches == [[2], [3], [3]]
        assert value(probe) == 2


# --- closing -----------------------------------------------------------------------------------


def test_close_with_drain_computes_what_waits():
    with Busy(pack_tokens=10) as busy:
        futures = busy.submit(6, 6, 6)
        busy.finish()
        assert [value(future) for future in (busy.first, *futures)] == [1, 6, 6, 6]


def test_close_without_drain_fails_what_waits_and_finishes_what_runs():
    with Busy(pack_tokens=10) as busy:
        stays, leaves = busy.submit(6, 7)
        leaves.cancel()
        closing = threading.Thread(target=busy.batcher.close, kwargs={"drain": False})
        closing.start()
        assert isinstance(stays.exception(PATIENCE), ShuttingDown)  # before the running one ends
        busy.release()
        closing.join(PATIENCE)
        assert not closing.is_alive()
        assert value(busy.first) == 1
        assert leaves.cancelled()
        assert busy.batches == []
        assert busy.batcher.queued == 0


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_a_closed_batcher_takes_nothing_more(batcher, drain, first):
    batcher.close(drain=drain)
    with pytest.raises(ShuttingDown):
        batcher.submit(request(1), first=first)


def test_closing_twice_is_closing_once(batcher):
    future = batcher.submit(request(3))
    batcher.close()
    batcher.close()
    assert value(future) == 3


def test_closing_ends_the_thread():
    before = set(threading.enumerate())
    batcher = Batcher([answers], cost_of, Budget(1, 1))
    (thread,) = set(threading.enumerate()) - before
    batcher.close()
    assert not thread.is_alive()


# --- any load ----------------------------------------------------------------------------------


COSTS = st.lists(st.integers(1, 30), max_size=40)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(costs=COSTS, budget=st.integers(1, 40), data=st.data())
def test_under_any_load_batches_fit_order_is_kept_and_everyone_is_answered_once(
    costs, budget, data
):
    gone = data.draw(st.sets(st.sampled_from(range(len(costs))))) if costs else set()
    poison = data.draw(st.sampled_from([None, *costs]))
    settled = []
    with Busy(fails_on(poison, ValueError("poison")), pack_tokens=budget) as busy:
        futures = busy.submit(*costs)
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: settled.append(number))
        for number in gone:
            futures[number].cancel()
        busy.finish()

    assert sorted(settled) == list(range(len(costs)))
    for batch in busy.batches:
        assert sum(batch) <= budget or len(batch) == 1
    stay = [cost for number, cost in enumerate(costs) if number not in gone]
    computed = [cost for batch in busy.batches for cost in batch]
    if poison in stay:
        assert set(computed) == set(stay)
    else:
        short = [cost for cost in stay if cost <= budget]
        assert [cost for cost in computed if cost <= budget] == short
        assert sorted(computed) == sorted(stay)
    told = [outcome(future) for future in futures if not future.cancelled()]
    assert told == [None if cost == poison else cost for cost in stay]
    assert {n for n, future in enumerate(futures) if future.cancelled()} == gone


@settings(deadline=None, derandomize=True)
@given(costs=COSTS, budget=st.integers(1, 40))
def test_no_batch_leaves_out_a_request_that_would_have_fitted(costs, budget):
    with Busy(pack_tokens=budget) as busy:
        busy.submit(*costs)
        busy.finish()
    for batch, following in pairwise(busy.batches):
        assert sum(batch) + following[0] > budget


def outcome(future: Future[Outputs]):
    """The number that a future gives, None for a failure."""
    try:
        return value(future)
    except (EngineError, CancelledError):
        return None
