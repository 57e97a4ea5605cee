"""The cache: what comes out is what went in, for the very same question, within its bound."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import fields, replace

import numpy as np
import pytest

from esm2.alphabet import tokenize
from esm2.cache import MemoryCache, RedisCache, key_of, size_of
from esm2.catalog import Shape
from esm2.types import Decided, ForwardRequest, Outputs, Want
from tests import services

DECIDED = Decided("mine", Shape(2, 4, 2), "cpu", "float32", "none", "a", "custom", True, 10, 0)
REQUEST = ForwardRequest(tokenize("MKT"), Want(layers=(2,), mean=True))
RNG = np.random.default_rng(7)


def array(*shape):
    return RNG.standard_normal(shape, np.float32)


EVERYTHING = Outputs(
    mean={0: array(4), 2: array(4)},
    per_token={2: array(3, 4)},
    bos={1: array(4)},
    logits=array(3, 33),
    contacts=array(3, 3),
    attentions=array(2, 3),
)


def inside(work):
    return asyncio.run(asyncio.wait_for(work, 20))


def same(one, other):
    for field in fields(Outputs):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_equal(mine, theirs)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype


@pytest.mark.parametrize(
    "other",
    [
        key_of(ForwardRequest(tokenize("MKA"), REQUEST.want), DECIDED),
        key_of(ForwardRequest(tokenize("MKTT"), REQUEST.want), DECIDED),
        key_of(replace(REQUEST, want=Want(layers=(1,), mean=True)), DECIDED),
        key_of(replace(REQUEST, want=Want(layers=(2,), bos=True)), DECIDED),
        key_of(replace(REQUEST, want=Want(logits=True)), DECIDED),
        key_of(replace(REQUEST, want=Want(logits=True, masks_only=True)), DECIDED),
        key_of(REQUEST, replace(DECIDED, weights_sha256="b")),
        key_of(REQUEST, replace(DECIDED, dtype="bfloat16")),
        key_of(REQUEST, replace(DECIDED, kernel="other")),
    ],
)
def test_another_question_has_another_key(other):
    assert key_of(REQUEST, DECIDED) != other


def test_the_same_question_has_the_same_key_whatever_the_model_is_called():
    again = ForwardRequest(tokenize("MKT"), Want(layers=(2,), mean=True))
    assert key_of(again, replace(DECIDED, slug="other")) == key_of(REQUEST, DECIDED)


def test_what_comes_out_is_what_went_in():
    async def ask():
        cache = MemoryCache(10_000)
        assert await cache.get(b"1") is None
        await cache.put(b"1", EVERYTHING)
        same(await cache.get(b"1"), EVERYTHING)

    inside(ask())


def test_the_least_recently_used_go_first_and_the_bound_holds():
    async def ask():
        size = size_of(EVERYTHING)
        cache = MemoryCache(2 * size)
        await cache.put(b"1", EVERYTHING)
        await cache.put(b"2", EVERYTHING)
        await cache.get(b"1")
        await cache.put(b"3", EVERYTHING)
        assert cache.held == 2 * size
        there = [await cache.get(key) is not None for key in (b"1", b"2", b"3")]
        assert there == [True, False, True]
        await cache.put(b"1", EVERYTHING)
        assert cache.held == 2 * size

    inside(ask())


def test_what_is_larger_than_the_whole_is_not_kept_and_drops_nothing():
    async def ask():
        cache = MemoryCache(size_of(EVERYTHING))
        await cache.put(b"1", EVERYTHING)
        await cache.put(b"2", replace(EVERYTHING, contacts=array(30, 30)))
        assert await cache.get(b"1") is not None
        assert await cache.get(b"2") is None

    inside(ask())


def test_in_redis_it_is_the_same_for_several_servers_and_gone_when_redis_is(caplog):
    with services.redis() as running:

        async def ask():
            one, other = RedisCache(running.url, 10_000), RedisCache(running.url, 10_000)
            await one.put(b"1", EVERYTHING)
            same(await other.get(b"1"), EVERYTHING)
            await one._redis.set("esm2:32", b"somebody else's")
            assert await other.get(b"2") is None
            small = RedisCache(running.url, 10)
            await small.put(b"3", EVERYTHING)
            assert await one.get(b"3") is None
            running.stop()
            assert await one.get(b"1") is None
            await one.put(b"1", EVERYTHING)
            assert caplog.text.count("does not answer") == 1
            running.start()
            one._not_before = 1e-9  # as if the pause were over
            assert await one.get(b"1") is None
            assert caplog.text.count("answers again") == 1
            for own in (one, other, small):
                await own.close()

        with caplog.at_level(logging.WARNING):
            inside(ask())
