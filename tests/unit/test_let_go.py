"""What was answered is kept by nobody, without the garbage collector, which may not come for long.

After 640 requests at once a server held the outputs of all of them, 260 MB, until it did.
"""

import asyncio
import gc
import threading
import weakref

import pytest

from esm2.batcher import Batcher, Budget
from esm2.service import Service
from tests.batching import PATIENCE, answers, cost_of, request, value
from tests.unit.test_batcher_ahead import LONG, Ahead, busy_with
from tests.unit.test_service import decided


@pytest.fixture(autouse=True)
def without_a_garbage_collector():
    gc.disable()
    yield
    gc.enable()


class Watched:
    """Computes, and says when the outputs are kept by nobody any more."""

    def __init__(self):
        self.begun, self.may_end, self.gone = (threading.Event() for _ in range(3))

    def __call__(self, requests):
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        outputs = answers(requests)
        weakref.finalize(outputs[0].mean[1], self.gone.set)
        return outputs


@pytest.fixture
def watched():
    return Watched()


@pytest.fixture
def batcher(watched):
    own = Batcher([watched], cost_of, Budget(10, 100))
    yield own
    watched.may_end.set()
    own.close(drain=False)


def test_outputs_go_with_the_future_of_their_request(batcher, watched):
    watched.may_end.set()
    future = batcher.submit(request(3))
    assert value(future) == 3
    assert not watched.gone.is_set()
    del future
    assert watched.gone.wait(PATIENCE)


def test_outputs_of_what_went_ahead_go_with_the_future_of_their_request(watched):
    watched.may_end.set()
    with busy_with(LONG, ahead=Ahead(watched)) as (batcher, _, _):
        assert value(batcher.submit(request(30))) == 30
        assert watched.gone.wait(PATIENCE)


def test_outputs_of_a_service_go_with_its_answer(batcher, watched):
    watched.may_end.set()
    service = Service(decided(), batcher.submit)

    async def ask():
        (outputs,) = await service.run([request(3)])
        assert outputs.mean[1].item() == 3
        del outputs
        return await asyncio.to_thread(watched.gone.wait, PATIENCE)

    assert asyncio.run(ask())


def test_outputs_that_are_computed_for_a_caller_who_has_left_go_at_once(batcher, watched):
    service = Service(decided(), batcher.submit)

    async def leave():
        answer = asyncio.create_task(service.run([request(3)]))
        assert await asyncio.to_thread(watched.begun.wait, PATIENCE)
        answer.cancel()
        await asyncio.wait([answer])
        assert answer.cancelled()
        watched.may_end.set()
        return await asyncio.to_thread(watched.gone.wait, PATIENCE)

    assert asyncio.run(leave())
