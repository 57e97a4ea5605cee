"""A served model over a real batcher: one answer for all sequences of a caller, or one error."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import pytest

from esm2.batcher import Batcher, Budget
from esm2.budget import MemoryModel
from esm2.cache import MemoryCache, key_of
from esm2.catalog import Shape
from esm2.errors import (
    ContactsUnavailable,
    DeadlineExceeded,
    DoesNotFit,
    EngineError,
    Overloaded,
    ShuttingDown,
)
from esm2.service import Allowance, Service
from esm2.types import Decided, ForwardRequest, Outputs, Want

PATIENCE = 20.0  # seconds until a test gives up; nothing waits for as long as that
WANT = Want(layers=(1,), mean=True)


def decided(*, contacts=True):
    return Decided(
        slug="my-slug",
        shape=Shape(2, 32, 2),
        device="cpu",
        dtype="float32",
        kernel="none",
        weights_sha256="0" * 64,
        weights_kind="custom",
        contacts=contacts,
        pack_tokens=10,
        threads=0,
    )


def request(cost, want=WANT):
    return ForwardRequest(np.zeros(cost, dtype=np.uint8), want)


def cost_of(asked):
    return len(asked.tokens)


def answers(requests):
    return [Outputs(mean={1: np.array([cost_of(own)], np.float32)}) for own in requests]


def values(outputs):
    return [own.mean[1].item() for own in outputs]


def inside(coroutine):
    """Run it; a test that would hang fails."""
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


async def queued(batcher, cost):
    """Let every task take its first steps, after which that much waits."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert batcher.queued == cost


class Held:
    """An executor that computes a first request only when it is let go; and what it computed."""

    def __init__(self, compute=answers):
        self._compute = compute
        self._started, self._released = threading.Event(), threading.Event()
        self.batches = []

    def __call__(self, requests):
        if not self._started.is_set():
            self._started.set()
            assert self._released.wait(PATIENCE)
            return answers(requests)
        self.batches.append([cost_of(own) for own in requests])
        return self._compute(requests)

    def hold(self, batcher):
        first = batcher.submit(request(1))
        assert self._started.wait(PATIENCE)
        return first

    def release(self):
        self._released.set()


@contextmanager
def holding(compute=answers, *, queue_tokens=1000):
    """(service, batcher, executor): the executor is busy until it is released."""
    executor = Held(compute)
    batcher = Batcher([executor], cost_of, Budget(10, queue_tokens))
    executor.hold(batcher)
    try:
        yield Service(decided(), batcher.submit), batcher, executor
    finally:
        executor.release()
        batcher.close(drain=False)


@pytest.fixture
def held():
    with holding() as running:
        yield running


# --- an answer ---------------------------------------------------------------------------------


def test_outputs_come_in_the_order_of_the_requests(held):
    service, batcher, executor = held

    async def ask():
        answer = asyncio.create_task(service.run([request(cost) for cost in (9, 2, 7, 3, 2)]))
        await queued(batcher, 23)
        executor.release()
        return await answer

    assert values(inside(ask())) == [9, 2, 7, 3, 2]
    assert executor.batches == [[9], [2, 7], [3, 2]]


def test_outputs_keep_their_order_when_the_last_is_computed_first():
    futures = [Future(), Future()]
    waiting = iter(futures)
    service = Service(decided(), lambda _, caller: next(waiting))

    async def ask():
        answer = asyncio.create_task(service.run([request(1), request(2)]))
        await asyncio.sleep(0)
        for number in (1, 0):
            futures[number].set_result(*answers([request(number + 1)]))
        return await answer

    assert values(inside(ask())) == [1, 2]


def test_callers_share_batches_and_each_gets_its_own(held):
    service, batcher, executor = held

    async def ask():
        callers = [
            asyncio.create_task(service.run([request(cost) for cost in costs]))
            for costs in ((2, 3), (1, 4))
        ]
        await queued(batcher, 10)
        executor.release()
        return await asyncio.gather(*callers)

    assert [values(outputs) for outputs in inside(ask())] == [[2, 3], [1, 4]]
    assert executor.batches == [[2, 3, 1, 4]]


def test_no_requests_have_no_outputs(held):
    service, _, _ = held
    assert inside(service.run([])) == []


# --- a caller who leaves -----------------------------------------------------------------------


def test_a_caller_who_leaves_takes_out_what_waits_and_only_that(held):
    service, batcher, executor = held

    async def leave():
        leaver = asyncio.create_task(service.run([request(2), request(3)]))
        stays = asyncio.create_task(service.run([request(4)]))
        await queued(batcher, 9)
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        executor.release()
        return await stays

    assert values(inside(leave())) == [4]
    batcher.close(drain=True)
    assert executor.batches == [[4]]


# --- failures ----------------------------------------------------------------------------------


def test_one_failure_fails_the_answer_and_takes_out_the_rest():
    error = EngineError("out of memory")
    given: list[Future] = []

    def submit(_, caller):
        given.append(Future())
        return given[-1]

    async def ask():
        answer = asyncio.create_task(Service(decided(), submit).run([request(1)] * 3))
        await asyncio.sleep(0)
        given[1].set_exception(error)
        with pytest.raises(EngineError) as caught:
            await answer
        return caught.value

    assert inside(ask()) is error
    assert [future.cancelled() for future in given] == [True, False, True]


def test_a_failure_of_one_caller_is_not_that_of_another():
    def compute(requests):
        if 9 in map(cost_of, requests):
            raise RuntimeError("no memory")
        return answers(requests)

    with holding(compute) as (service, batcher, executor):

        async def ask():
            fails = asyncio.create_task(service.run([request(9), request(10)]))
            stays = asyncio.create_task(service.run([request(8)]))
            await queued(batcher, 27)
            executor.release()
            return await asyncio.gather(fails, stays, return_exceptions=True)

        failure, outputs = inside(ask())
        assert isinstance(failure, EngineError)
        assert values(outputs) == [8]


def test_a_refusal_in_the_middle_takes_out_what_was_already_queued():
    with holding(queue_tokens=6) as (service, batcher, executor):
        with pytest.raises(Overloaded):
            inside(service.run([request(2), request(3), request(4)]))
        executor.release()
        batcher.close(drain=True)
        assert executor.batches == []


def test_a_server_that_stops_tells_those_who_wait_and_those_who_come(held):
    service, batcher, executor = held

    async def ask():
        answer = asyncio.create_task(service.run([request(2)]))
        await queued(batcher, 2)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close, drain=False))
        with pytest.raises(ShuttingDown):
            await answer
        executor.release()
        await closing

    inside(ask())
    with pytest.raises(ShuttingDown):
        inside(service.run([request(1)]))
    assert executor.batches == []


# --- what a model cannot give ------------------------------------------------------------------


def test_contacts_are_refused_without_a_contact_head_and_nothing_is_computed(held):
    _, batcher, executor = held
    executor.release()
    service = Service(decided(contacts=False), batcher.submit)
    with pytest.raises(ContactsUnavailable, match="my-slug has no contact head"):
        service.check_all([request(1), request(1, Want(contacts=True))])
    with pytest.raises(ContactsUnavailable):
        service.check(Want(contacts=True, logits=True))
    service.check(Want(logits=True, attentions=True))
    assert values(inside(service.run([request(2)]))) == [2]
    batcher.close()
    assert executor.batches == [[2]]


def test_contacts_are_given_with_a_contact_head():
    asked = []

    def submit(own, caller):
        asked.append(own.want)
        done: Future[Outputs] = Future()
        done.set_result(Outputs(contacts=np.zeros((1, 1), np.float32)))
        return done

    (outputs,) = inside(Service(decided(), submit).run([request(3, Want(contacts=True))]))
    assert asked == [Want(contacts=True)]
    assert outputs.contacts is not None


# --- the probe ---------------------------------------------------------------------------------


def test_what_is_wholly_in_the_cache_needs_no_place_in_the_queue():
    with holding(queue_tokens=1) as (_, batcher, _):
        cache = MemoryCache(10_000)
        service = Service(decided(), batcher.submit, submit_all=batcher.submit_all, cache=cache)
        batcher.submit(request(3))  # one alone may be longer: now it is more than full

        async def ask():
            known = request(3)
            await cache.put(key_of(known, service.decided), *answers([known]))
            with pytest.raises(Overloaded):
                await service.run_cached([known, request(2)], "all")
            return await service.run_cached([known, known], "all")

        outputs, computed = inside(ask())
    assert (values(outputs), computed) == ([3.0, 3.0], [])


def test_the_probe_goes_ahead_of_a_full_queue():
    with holding(queue_tokens=6) as (service, batcher, executor):

        async def ask():
            waits = asyncio.create_task(service.run([request(6)]))
            await queued(batcher, 6)
            probe = asyncio.create_task(service.probe())
            await queued(batcher, 28)  # <cls>, the 20 amino acids, <eos>
            executor.release()
            await asyncio.gather(probe, waits)

        inside(ask())
        assert executor.batches == [[22], [6]]


def test_the_probe_is_a_real_forward_pass_and_fails_when_it_does():
    def compute(requests):
        raise EngineError("the device is gone")

    with holding(compute) as (service, _, executor):
        executor.release()
        with pytest.raises(EngineError, match="the device is gone"):
            inside(service.probe())
        assert executor.batches == [[22]]


# --- memory ------------------------------------------------------------------------------------


def test_what_fits_is_decided_by_the_memory_model_and_the_longest_is_told():
    allowance = Allowance(memory_bytes=10_000_000, longest=5000)
    service = Service(decided(), lambda *_: Future[Outputs](), allowance=allowance)
    want = Want(contacts=True)
    memory = MemoryModel(decided().shape, decided().threads)
    longest = memory.longest(want, 10_000_000, 5000)
    assert 10 < longest < 5000
    service.check(want, longest)
    with pytest.raises(DoesNotFit) as caught:
        service.check(want, longest + 1)
    assert (caught.value.length, caught.value.longest) == (longest + 1, longest)
    assert "contacts" in str(caught.value)
    Service(decided(), lambda *_: Future[Outputs]()).check(want, 10**6)


# --- deadlines ----------------------------------------------------------------------


def test_after_the_deadline_nothing_that_waits_is_computed():
    with holding() as (service, batcher, executor):
        with pytest.raises(DeadlineExceeded, match=r"0\.01 seconds"):
            inside(service.run([request(2), request(3)], seconds=0.01))
        executor.release()
        batcher.close()
        assert executor.batches == []


def test_an_answer_within_the_deadline_is_an_answer():
    with holding() as (service, _, executor):
        executor.release()
        assert values(inside(service.run([request(2)], seconds=PATIENCE))) == [2]
