"""The health of a model: what counts as busy, as wedged, as wrong."""

import asyncio
from concurrent.futures import Future

import numpy as np
import pytest

from esm2.batcher import Running
from esm2.catalog import Shape
from esm2.errors import ModelUnavailable
from esm2.service import Service
from esm2.types import Decided, Outputs

DECIDED = Decided("mine", Shape(2, 4, 2), "cpu", "float32", "none", "", "custom", True, 10, 0)


def inside(work):
    asyncio.run(asyncio.wait_for(work, 20))


def watched(*running, answer=None):
    """A service whose executors are busy like that, and whose probe gives this answer, if any."""

    def submit(_, first):
        future: Future[Outputs] = Future()
        if answer is not None:
            future.set_result(Outputs(logits=np.full((20, 33), answer, np.float32)))
        return future

    return Service(DECIDED, submit, running=lambda: running)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("esm2.service._ANSWER", 0.01)


@pytest.mark.parametrize(
    "busy", [Running(4.9, 0.0), Running(60.0, 20.0)], ids=["a moment", "a long pass"]
)
@pytest.mark.usefixtures("impatient")
def test_an_executor_that_is_busy_as_long_as_it_should_be_is_healthy(busy):
    inside(watched(busy).probe())


@pytest.mark.parametrize(
    "busy", [Running(5.1, 0.0), Running(60.0, 2.0)], ids=["a moment", "a long pass"]
)
def test_an_executor_that_is_busy_for_far_too_long_is_not(busy):
    with pytest.raises(ModelUnavailable, match="has been running"):
        inside(watched(Running(0.1, 0.1), busy, answer=1.0).probe())


@pytest.mark.usefixtures("impatient")
def test_without_an_answer_while_nothing_runs_it_is_not_healthy():
    with pytest.raises(ModelUnavailable, match="no answer"):
        inside(watched().probe())


def test_another_answer_than_the_known_one_is_not_healthy(monkeypatch):
    answers = iter([1.0, 1.0, 2.0])

    def submit(_, first):
        future: Future[Outputs] = Future()
        future.set_result(Outputs(logits=np.full((20, 33), next(answers), np.float32)))
        return future

    monkeypatch.setattr("esm2.service._REUSED", 0)
    service = Service(DECIDED, submit)
    service.warm_up()
    inside(service.probe())
    with pytest.raises(ModelUnavailable, match="another answer"):
        inside(service.probe())


class Counted:
    """A model that answers when it is told to; how often it was asked."""

    def __init__(self):
        self.futures = []

    def __call__(self, _, first):
        self.futures.append(Future())
        return self.futures[-1]

    def answer(self):
        self.futures[-1].set_result(Outputs(logits=np.ones((20, 33), np.float32)))


async def first_steps():
    for _ in range(3):
        await asyncio.sleep(0)


def test_health_checks_share_one_forward_pass_and_soon_after_its_answer():
    model = Counted()
    service = Service(DECIDED, model)

    async def many():
        checks = [asyncio.create_task(service.probe()) for _ in range(128)]
        await first_steps()
        checks[0].cancel()  # who asked first does not take the answer with it
        model.answer()
        results = await asyncio.gather(*checks, return_exceptions=True)
        assert results[1:] == [None] * 127
        await service.probe()
        assert len(model.futures) == 1

    inside(many())


def test_that_a_model_fails_is_told_to_all_who_ask_and_then_asked_again():
    model = Counted()
    service = Service(DECIDED, model)

    async def ask():
        checks = [asyncio.create_task(service.probe()) for _ in range(3)]
        await first_steps()
        model.futures[-1].set_exception(ModelUnavailable("mine", "it is gone"))
        told = await asyncio.gather(*checks, return_exceptions=True)
        assert [str(error) for error in told] == [str(ModelUnavailable("mine", "it is gone"))] * 3
        assert len({id(error) for error in told}) == 3
        again = asyncio.create_task(service.probe())
        await first_steps()
        model.answer()
        await again
        assert len(model.futures) == 2

    inside(ask())
