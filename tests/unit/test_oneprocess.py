"""A model, a client: copies that a fork makes of them, and pickles."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import esm2
from esm2.catalog import DEMO_SLUG
from esm2.client import AsyncClient, Client

# Newer Pythons warn of what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

NOWHERE = "http://127.0.0.1:9"  # nothing is sent there
PATIENCE = 60


@pytest.fixture(scope="module")
def model():
    with esm2.load(DEMO_SLUG, device="cpu") as loaded:
        loaded.embed(["MKT"])
        yield loaded


def in_a_fork(work):
    """What `work` returns or raises in a child, which must end; as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(pipe.read).result(PATIENCE).decode()
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.embed(["MKT"]),
        lambda model: model.encode(["MKT"]),
        lambda model: model.predict(["M<mask>"]),
        lambda model: model.contacts(["MKT"]),
        lambda model: model.fill_mask("M<mask>"),
        lambda model: model.log_prob(["MKT"]),
        lambda model: model.score_variants("MKT", ["M1A"]),
        lambda model: model.scan("MKT"),
        lambda model: model.pll(["MKT"]),
    ],
)
def test_a_model_made_before_a_fork_says_so_at_once_in_the_child(model, ask):
    said = in_a_fork(lambda: ask(model))
    assert said.startswith("RuntimeError: this model was made before a fork: load it in the worker")
    assert ask(model) is not None


def test_leaving_a_model_in_the_child_leaves_it_to_the_parent(model):
    assert in_a_fork(model.close) == "None"
    assert model.embed(["MKT"]).shape[0] == 1


def test_a_worker_that_was_forked_can_load_a_model_of_its_own(model):
    def load_and_embed():
        with esm2.load(DEMO_SLUG, device="cpu") as own:
            return own.embed(["MKT"])[0, :3].tolist()

    got = json.loads(in_a_fork(load_and_embed))
    np.testing.assert_allclose(got, model.embed(["MKT"])[0, :3], rtol=0, atol=1e-5)


def test_a_client_made_before_a_fork_says_so_at_once_in_the_child():
    with Client(NOWHERE) as client:
        for ask in (lambda: client.embed(["MKT"]), lambda: client.decided):
            said = in_a_fork(ask)
            assert said.startswith("RuntimeError: this client was made before a fork")
        assert in_a_fork(client.close) == "None"
    own = AsyncClient(NOWHERE)
    assert in_a_fork(lambda: asyncio.run(own.embed(["MKT"]))).startswith(
        "RuntimeError: this client"
    )
    assert in_a_fork(lambda: asyncio.run(own.aclose())) == "None"
    asyncio.run(own.aclose())


def test_neither_is_sent_to_another_process(model):
    with Client(NOWHERE) as client:
        for own in (model, client, AsyncClient(NOWHERE)):
            with pytest.raises(TypeError, match="cannot be sent to another process: load it"):
                pickle.dumps(own)
    with (
        multiprocessing.get_context("spawn").Pool(1) as pool,
        pytest.raises(TypeError, match="a model cannot be sent to another process"),
    ):
        pool.apply(model.embed, (["MKT"],))
