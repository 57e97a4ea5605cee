"""A request that takes long lets what is short go ahead of it, where its executor can."""

import threading
import time
from contextlib import contextmanager

import pytest

from esm2.batcher import Batcher, Budget
from esm2.batcher.passes import Pass
from esm2.errors import EngineCrashed, EngineError, ShuttingDown
from tests.batching import PATIENCE, Held, answers, cost_of, fails_on, request, value

LONG = 4000


class Ahead:
    """An executor that goes ahead, and notes what it computed; the first time it may wait."""

    def __init__(self, compute=answers):
        self._compute = compute
        self.batches = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, requests):
        self.batches.append([cost_of(own) for own in requests])
        assert self.may_go.wait(PATIENCE)
        return self._compute(requests)


class Behind:
    """An executor of which passes may be held; it notes what it computed.

    Attributes:
        begun: of each pass, whether it has begun.
        fails: a pass that is held ends with it, the first time.
    """

    def __init__(self, *held):
        self.batches = []
        self.begun = [threading.Event() for _ in range(20)]
        self._may_end = [threading.Event() for _ in range(20)]
        for number, event in enumerate(self._may_end):
            if number not in held:
                event.set()
        self.fails = None

    def release(self, number):
        self._may_end[number].set()

    def __call__(self, requests):
        number = len(self.batches)
        self.batches.append([cost_of(own) for own in requests])
        self.begun[number].set()
        held = not self._may_end[number].is_set()
        assert self._may_end[number].wait(PATIENCE)
        if held and self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        return answers(requests)


@contextmanager
def busy_with(*costs, callers="", ahead=None, pass_seconds=0.0):
    """A batcher whose executor is held at its third pass, the first of those that matter.

    Args:
        costs: of the requests that wait when that pass begins.
        callers: who asks for them; "a" for all, if not said.

    Yields:
        (batcher, the executor, the futures of these requests).
    """
    behind = Behind(1, 2)
    budget = Budget(1000, 10**9, pass_seconds=pass_seconds)
    batcher = Batcher([behind], cost_of, budget, ahead=[ahead or Ahead()])
    value(batcher.submit(request(1)))  # its speed is known now
    batcher.submit(request(1), caller="before")
    assert behind.begun[1].wait(PATIENCE)
    futures = [
        batcher.submit(request(cost), caller=caller)
        for cost, caller in zip(costs, callers or "a" * len(costs), strict=True)
    ]
    behind.release(1)
    assert behind.begun[2].wait(PATIENCE)
    try:
        yield batcher, behind, futures
    finally:
        behind.release(2)
        batcher.close(drain=False)


def test_what_is_short_goes_ahead_of_a_request_that_takes_long():
    ahead = Ahead()
    with busy_with(LONG, ahead=ahead) as (batcher, behind, (long,)):
        assert value(batcher.submit(request(30))) == 30
        assert value(batcher.submit(request(40), first=True)) == 40
        assert not long.done()
        assert ahead.batches == [[30], [40]]
        behind.release(2)
        assert value(long) == LONG
        assert behind.batches[2:] == [[LONG]]


def test_what_belongs_together_goes_ahead_together():
    ahead = Ahead()
    with busy_with(LONG, ahead=ahead) as (batcher, _, (long,)):
        short = batcher.submit_all([request(cost) for cost in (200, 300, 20)], "a")
        assert [value(own) for own in short] == [200, 300, 20]
        assert not long.done()
        assert ahead.batches == [[200, 300], [20]]


@pytest.mark.parametrize(
    ("costs", "how"),
    [
        pytest.param((200, 200), {}, id="of a batch of its own caller"),
        pytest.param((200, 200), {"callers": "ab"}, id="of a batch that callers share"),
        pytest.param((LONG,), {"pass_seconds": 1e9}, id="of what does not take long"),
        pytest.param((100,), {}, id="of what is not four times as long"),
    ],
)
def test_a_callers_request_does_not_go_ahead(costs, how):
    ahead = Ahead()
    with busy_with(*costs, ahead=ahead, **how) as (batcher, behind, futures):
        short = batcher.submit(request(30), caller="a")
        behind.release(2)
        assert [value(own) for own in (short, *futures)] == [30, *costs]
        assert ahead.batches == []


def test_another_callers_request_goes_ahead_of_any_batch_that_is_not_shared():
    ahead = Ahead()
    with busy_with(200, 200, ahead=ahead, pass_seconds=1e9) as (batcher, _, futures):
        assert value(batcher.submit(request(30), caller="b")) == 30
        assert value(batcher.submit(request(20), first=True)) == 20
        assert not any(own.done() for own in futures)
        assert ahead.batches == [[30], [20]]


def test_who_has_much_waiting_shares_no_batch_with_others_who_go_ahead_of_it():
    ahead = Ahead()
    costs, callers = (300, 20, 300, 300, 40), "abaab"
    with busy_with(*costs, callers=callers, ahead=ahead, pass_seconds=1e9) as (_, behind, futures):
        assert behind.batches[2:] == [[300, 300, 300]]
        assert [value(futures[own]) for own in (1, 4)] == [20, 40]
        behind.release(2)
        assert [value(own) for own in futures] == list(costs)
        assert ahead.batches == [[20, 40]]


def test_those_who_have_little_waiting_share_a_batch():
    with busy_with(200, 20, 200, 100, callers="abac", pass_seconds=1e9) as (_, behind, _):
        assert [sorted(own) for own in behind.batches[2:]] == [[20, 100, 200, 200]]


def test_a_batch_of_those_who_have_little_ends_where_it_is_the_turn_of_who_has_much():
    costs, callers = (20, 600, 30, 600), "abcb"
    with busy_with(*costs, callers=callers, pass_seconds=1e9) as (_, behind, futures):
        behind.release(2)
        assert [value(own) for own in futures] == list(costs)
        assert behind.batches[2] == [20]


def test_nothing_goes_ahead_while_another_executor_is_free():
    one, other, ahead = Held(), Held(), Ahead()
    budget = Budget(1000, 10**9, pass_seconds=0)
    batcher = Batcher([one, other], cost_of, budget, ahead=[ahead, ahead])
    value(batcher.submit(request(1)))
    one.hold()
    other.hold()
    long = batcher.submit(request(LONG))
    while not (one.started.is_set() or other.started.is_set()):
        pass
    busy, free = (one, other) if one.started.is_set() else (other, one)
    free.release()
    assert value(batcher.submit(request(30))) == 30
    assert not long.done()
    busy.release()
    assert value(long) == LONG
    assert ahead.batches == []
    batcher.close()


def test_what_goes_ahead_of_a_request_takes_as_long_as_it_at_most():
    ahead = Ahead()
    with busy_with(1200, ahead=ahead) as (batcher, behind, (long,)):
        short = [batcher.submit(request(300)) for _ in range(6)]
        assert [value(own) for own in short[:4]] == [300] * 4
        assert not any(own.done() for own in (long, *short[4:]))
        behind.release(2)
        assert [value(own) for own in (long, *short)] == [1200, *[300] * 6]
        assert ahead.batches == [[300]] * 4
        assert behind.batches[2:] == [[1200], [300], [300]]


def test_callers_take_turns_in_going_ahead():
    ahead = Ahead()
    ahead.may_go.clear()
    with busy_with(LONG, ahead=ahead) as (batcher, _, _):
        first = [batcher.submit(request(400), caller="a")]
        while not ahead.batches:
            pass
        a = [batcher.submit(request(400), caller="a") for _ in range(2)]
        b = [batcher.submit(request(300), caller="b") for _ in range(2)]
        ahead.may_go.set()
        assert [value(own) for own in first + a + b] == [400, 400, 400, 300, 300]
        assert ahead.batches == [[400], [400], [300], [300], [400]]


def test_a_request_that_fails_ahead_fails_alone():
    ahead = Ahead(fails_on(40, EngineError("NaN")))
    with busy_with(LONG, ahead=ahead) as (batcher, behind, (long,)):
        short = batcher.submit_all([request(cost) for cost in (30, 40, 50)], "a")
        assert isinstance(short[1].exception(PATIENCE), EngineError)
        assert [value(short[0]), value(short[2])] == [30, 50]
        behind.release(2)
        assert value(long) == LONG
        assert ahead.batches == [[30, 40, 50], [30], [40, 50], [40], [50]]


def test_what_was_lost_ahead_is_computed_in_its_turn_and_nobody_goes_ahead_of_a_second_try():
    ahead = Ahead(fails_on(30, EngineCrashed("test", "signal 9")))
    with busy_with(LONG, ahead=ahead) as (batcher, behind, (long,)):
        behind.fails = EngineCrashed("test", "signal 9")
        short = batcher.submit(request(30))
        while not ahead.batches:
            pass
        other = batcher.submit(request(20))
        assert value(other) == 20
        behind.release(2)
        assert [value(own) for own in (long, short)] == [LONG, 30]
        assert ahead.batches == [[30], [20]]
        assert behind.batches[2:] == [[LONG], [LONG], [30]]


def test_closing_waits_for_what_goes_ahead_and_fails_what_waits():
    ahead = Ahead()
    ahead.may_go.clear()
    with busy_with(LONG, ahead=ahead) as (batcher, behind, (long,)):
        goes = batcher.submit(request(30))
        while not ahead.batches:
            pass
        waits = batcher.submit(request(40))
        closing = threading.Thread(target=batcher.close, kwargs={"drain": False})
        closing.start()
        assert isinstance(waits.exception(PATIENCE), ShuttingDown)
        ahead.may_go.set()
        behind.release(2)
        closing.join(PATIENCE)
        assert not closing.is_alive()
        assert [value(own) for own in (goes, long)] == [30, LONG]


@pytest.mark.parametrize("error", [EngineCrashed("test", "signal 9"), EngineError("NaN")])
def test_what_fails_ahead_while_the_batcher_closes_is_told(error):
    ahead = Ahead(fails_on(30, error))
    ahead.may_go.clear()
    with busy_with(LONG, ahead=ahead) as (batcher, behind, _):
        goes = batcher.submit(request(30))
        while not ahead.batches:
            pass
        closing = threading.Thread(target=batcher.close)
        closing.start()
        while not batcher._closing:
            pass
        ahead.may_go.set()
        assert type(goes.exception(PATIENCE)) is type(error)
        behind.release(2)
        closing.join(PATIENCE)


def test_time_in_which_a_pass_stopped_is_none_of_its_own():
    stopped = Pass(1.0, "a", alone=True, again=False, begun=time.monotonic() - 100, stopped=90)
    assert 10 <= stopped.elapsed < 10 + PATIENCE


def test_who_goes_ahead_is_no_part_of_the_time_of_the_pass_that_stops():
    ahead = Ahead()
    ahead.may_go.clear()
    with busy_with(LONG, ahead=ahead) as (batcher, _, _):
        short = batcher.submit(request(30))
        while not ahead.batches:
            pass
        assert len(batcher.running()) == 2
        ahead.may_go.set()
        value(short)
        while len(batcher.running()) > 1:
            pass
        assert batcher._running[0].stopped > 0
