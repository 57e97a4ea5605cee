"""Memory for replies: taken in turn, given back however a request ends."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import numpy as np
import pytest

from esm2.budget import reply_bytes
from esm2.catalog import Shape
from esm2.errors import DeadlineExceeded, ReplyTooLarge
from esm2.server.sending import ReplyMemory
from esm2.types import ForwardRequest, Want

SHAPE = Shape(2, 4, 2)
CONTACTS = Want(contacts=True)


def asking(residues):
    """A request whose outputs hold 4 residues^2 bytes."""
    return ForwardRequest(np.zeros(residues + 2, np.uint8), CONTACTS)


def inside(work):
    return asyncio.run(asyncio.wait_for(work, 20))


@pytest.mark.parametrize(
    ("want", "numbers"),
    [
        (Want(layers=(0, 2), mean=True), 2 * 4),
        (Want(layers=(1,), per_token=True, bos=True), 10 * 4 + 4),
        (Want(logits=True), 10 * 33),
        (CONTACTS, 100),
        (Want(attentions=True), 20),
    ],
)
def test_what_outputs_hold_is_known_before_they_are_computed(want, numbers):
    assert reply_bytes(want, 10, SHAPE) == 4 * numbers


def test_what_is_taken_is_given_back_at_the_end():
    async def ask():
        memory = ReplyMemory(400)
        with ExitStack() as until:
            await memory.hold([asking(5), asking(5)], SHAPE, 1, until)
            assert memory.held == 200
        assert memory.held == 0

    inside(ask())


def test_more_than_there_is_altogether_is_refused_with_the_numbers():
    async def ask(sizes):
        await ReplyMemory(399).hold([asking(own) for own in sizes], SHAPE, 1, ExitStack())

    for sizes, size, fit in (([10], 400, 0), ([6, 6, 6], 432, 2)):
        with pytest.raises(ReplyTooLarge) as caught:
            inside(ask(sizes))
        assert (caught.value.size, caught.value.limit, caught.value.fit) == (size, 399, fit)
    assert "the first 2 of its items fit: send so many at once, or ask for" in str(caught.value)


def test_who_comes_later_waits_for_its_turn_even_if_it_is_small():
    async def ask():
        memory, order = ReplyMemory(400), []
        first = ExitStack()
        await memory.hold([asking(10)], SHAPE, 1, first)

        async def later(name, residues):
            with ExitStack() as until:
                await memory.hold([asking(residues)], SHAPE, 10, until)
                order.append(name)

        large = asyncio.create_task(later("large", 10))
        await asyncio.sleep(0)
        small = asyncio.create_task(later("small", 1))
        await asyncio.sleep(0)
        assert order == []
        first.close()
        await asyncio.gather(large, small)
        assert order == ["large", "small"]
        assert memory.held == 0

    inside(ask())


def test_who_waits_too_long_is_told_and_leaves_the_others_their_turn():
    async def ask():
        memory = ReplyMemory(400)
        first, last = ExitStack(), ExitStack()
        await memory.hold([asking(9)], SHAPE, 1, first)
        with pytest.raises(DeadlineExceeded):
            await memory.hold([asking(10)], SHAPE, 0.01, ExitStack())
        await memory.hold([asking(4)], SHAPE, 1, last)
        assert memory.held == 4 * (81 + 16)
        first.close()
        last.close()
        assert memory.held == 0

    inside(ask())


def test_who_leaves_while_waiting_takes_nothing():
    async def ask():
        memory = ReplyMemory(400)
        first = ExitStack()
        await memory.hold([asking(10)], SHAPE, 1, first)
        leaves = asyncio.create_task(memory.hold([asking(10)], SHAPE, 10, ExitStack()))
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        first.close()
        assert memory.held == 0

    inside(ask())
