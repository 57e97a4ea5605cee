"""What ends where a client, or a model, is closed: what is asked later, and what is on its way."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from esm2.alphabet import tokenize
from esm2.client import AsyncClient, Client
from esm2.errors import ShuttingDown
from esm2.local import Model
from esm2.types import ForwardRequest, Want
from tests.wire.fake import DECIDED
from tests.wire.scripted import means, scripted

#: Seconds until a thread of a test that waits for another gives up.
PATIENCE = 30


@contextmanager
def silent():
    """A server that answers nothing, and an event that is set once it was asked."""
    asked, enough = threading.Event(), threading.Event()

    def answer(_, request):
        asked.set()
        enough.wait(PATIENCE)
        return means(request)

    with scripted(answer) as server:
        try:
            yield server, asked
        finally:
            enough.set()


def model_that_waits():
    """A model whose passes end with it, as those of a batcher do, and when it was asked."""
    asked, future = threading.Event(), Future()

    def submit(request):
        asked.set()
        return future

    resources = ExitStack()
    resources.callback(lambda: future.done() or future.set_exception(ShuttingDown()))
    return Model(DECIDED, submit, resources), asked


#: Of a model and of both clients.
QUESTIONS = [
    lambda own: own.embed(["MKT"]),
    lambda own: own.embed([]),
    lambda own: own.encode(["MKT"]),
    lambda own: own.predict(["M<mask>"]),
    lambda own: own.log_prob([]),
    lambda own: own.pll(["MKT"]),
    lambda own: own.scan("MKT"),
    lambda own: own.score_variants("MKT", []),
    lambda own: own.fill_mask("M<mask>"),
]


def test_what_is_closed_refuses_every_question_and_may_be_closed_again():
    with scripted(lambda _, request: means(request)) as server:
        client = Client(server.url)
        client.embed(["M"])
        model, _ = model_that_waits()
        for own, name in ((client, "client"), (model, "model")):
            own.close()
            own.close()
            for ask in QUESTIONS:
                with pytest.raises(ValueError, match=f"^the {name} is closed$"):
                    ask(own)
        with pytest.raises(ValueError, match="the model is closed"):
            model.attention_maps("MKT")
        with pytest.raises(ValueError, match="the client is closed"):
            client.submit(ForwardRequest(tokenize("MKT"), Want(layers=(2,), mean=True)))


def test_an_async_client_that_is_closed_says_so_too():
    async def ask(url):
        async with AsyncClient(url) as own:
            await own.embed(["M"])
        await own.aclose()
        for question in (*QUESTIONS, lambda own: own.decided(), lambda own: own.send_all([])):
            with pytest.raises(ValueError, match="the client is closed"):
                await question(own)

    with scripted(lambda _, request: means(request)) as server:
        asyncio.run(ask(server.url))


def test_any_number_of_threads_may_close_a_client():
    with silent() as (server, _), ThreadPoolExecutor(4) as pool:
        client = Client(server.url)
        closed = [pool.submit(client.close) for _ in range(8)]
        assert [own.result(PATIENCE) for own in closed] == [None] * 8


def test_a_call_in_another_thread_ends_with_the_client_and_says_why():
    with silent() as (server, asked), ThreadPoolExecutor(1) as pool:
        client = Client(server.url)
        call = pool.submit(client.embed, ["MKT"])
        assert asked.wait(PATIENCE)
        client.close()
        with pytest.raises(ValueError, match="the client is closed"):
            call.result(PATIENCE)


@pytest.mark.parametrize(
    "ask", [*(QUESTIONS[index] for index in (0, 5, 6)), lambda own: own.attention_maps("MKT")]
)
def test_a_call_in_another_thread_ends_with_the_model_and_says_the_same(ask):
    model, asked = model_that_waits()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, model)
        assert asked.wait(PATIENCE)
        model.close()
        with pytest.raises(ValueError, match="the model is closed"):
            call.result(PATIENCE)


def test_a_task_ends_with_its_async_client_and_says_why():
    async def ask(server, asked):
        client = AsyncClient(server.url)
        task = asyncio.create_task(client.embed(["MKT"]))
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        await client.aclose()
        with pytest.raises(ValueError, match="the client is closed"):
            await task

    with silent() as (server, asked):
        asyncio.run(ask(server, asked))


def test_what_was_submitted_is_cancelled():
    with silent() as (server, asked):
        with Client(server.url) as client:
            request = ForwardRequest(tokenize("MKT"), Want(layers=(2,), mean=True))
            future = client.submit(request)
            assert asked.wait(PATIENCE)
        assert future.cancelled()
