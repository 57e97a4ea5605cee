"""A request that takes long lets what is short go ahead of it, where its executor can."""

import threading
from contextlib import contextmanager

import pytest

from esm2.batcher import Batcher, Budget
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


class Behind(Held):
    """An executor that can be held, and notes what it computed; the first pass may fail."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.fails = None

    def __call__(self, requests):
        self.batches.append([cost_of(own) for own in requests])
        done = super().__call__(requests)
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        return done


@contextmanager
def busy_with(*costs, ahead=None, pack_tokens=1000, pass_seconds=0.0, executors=1):
    """A batcher whose executors are held by requests of these costs.

    Yields:
        (batcher, its last executor, the futures of those requests).
    """
    behind = [Behind() for _ in range(executors)]
    goes = ahead or Ahead()
    budget = Budget(pack_tokens, 10**9, pass_seconds=pass_seconds)
    batcher = Batcher(behind, cost_of, budget, ahead=[goes] * executors)
    value(batcher.submit(request(1)))  # its speed is known now
    for own in behind:
        own.hold()
        own.batches.clear()
    futures = batcher.submit_all([request(cost) for cost in costs])
    for own in behind:
        assert own.started.wait(PATIENCE)
    try:
        yield batcher, behind[-1], futures
    finally:
        for own in behind:
            own.release()
        batcher.close(drain=False)


def test_what_is_short_goes_ahead_of_a_request_that_takes_long():
    ahead = Ahead()
    with busy_with(LONG, ahead=ahead) as (batcher, behind, (long,)):
        assert value(batcher.submit(request(30))) == 30
        assert value(batcher.submit(request(40), first=True)) == 40
        assert not long.done()
        assert ahead.batches == [[30], [40]]
        behind.release()
        assert value(long) == LONG
        assert behind.batches == [[LONG]]


def test_what_waits_already_goes_ahead_together():
    ahead = Ahead()
    with busy_with(LONG, 200, 300, 20, ahead=ahead) as (_, _, (long, *short)):
        assert [value(own) for own in short] == [200, 300, 20]
        assert not long.done()
        assert ahead.batches == [[200, 300], [20]]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"costs": (200, 200)}, id="of a batch that others share"),
        pytest.param({"costs": (LONG,), "pass_seconds": 1e9}, id="of what does not take long"),
        pytest.param({"costs": (100,)}, id="of what is not four times as long"),
        pytest.param({"costs": (LONG,), "executors": 2}, id="while another executor is free"),
    ],
)
def test_nothing_goes_ahead(how):
    ahead = Ahead()
    behind = [Behind() for _ in range(how.get("executors", 1))]
    budget = Budget(1000, 10**9, pass_seconds=how.get("pass_seconds", 0.0))
    batcher = Batcher(behind, cost_of, budget, ahead=[ahead] * len(behind))
    value(batcher.submit(request(1)))
    for own in behind:
        own.hold()
    first = batcher.submit_all([request(cost) for cost in how["costs"]])
    while not any(own.started.is_set() for own in behind):
        behind[0].started.wait(0.01)
    short = batcher.submit(request(30))
    for own in behind:
        own.release()
    assert value(short) == 30
    assert [value(own) for own in first] == list(how["costs"])
    assert ahead.batches == []
    batcher.close()


def test_what_goes_ahead_of_a_request_takes_as_long_as_it_at_most():
    ahead = Ahead()
    with busy_with(1200, *[300] * 6, ahead=ahead) as (_, behind, (long, *short)):
        assert [value(own) for own in short[:4]] == [300] * 4
        assert not any(own.done() for own in (long, *short[4:]))
        behind.release()
        assert [value(own) for own in (long, *short)] == [1200, *[300] * 6]
        assert ahead.batches == [[300]] * 4
        assert behind.batches == [[1200], [300], [300]]


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
    with busy_with(LONG, 30, 40, 50, ahead=ahead) as (_, behind, (long, *short)):
        assert isinstance(short[1].exception(PATIENCE), EngineError)
        assert [value(short[0]), value(short[2])] == [30, 50]
        behind.release()
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
        behind.release()
        assert [value(own) for own in (long, short)] == [LONG, 30]
        assert ahead.batches == [[30], [20]]
        assert behind.batches == [[LONG], [LONG], [30]]


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
        behind.release()
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
        behind.release()
        closing.join(PATIENCE)


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
        (long,) = batcher.running()
        assert 0 <= long.elapsed < PATIENCE
