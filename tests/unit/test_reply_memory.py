"""Memory for replies: callers take turns for it, and it is given back however a request ends."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import numpy as np
import pytest

from esm2.budget import reply_bytes
from esm2.catalog import Shape
from esm2.errors import DeadlineExceeded, ReplyTooLarge
from esm2.server.memory import ReplyMemory
from esm2.types import ForwardRequest, Want

SHAPE = Shape(2, 4, 2)
CONTACTS = Want(contacts=True)
# An eighth is for small replies, which are those up to a 512th: 8 bytes.
LIMIT = 4096
FOR_LARGE = LIMIT - LIMIT // 8
ALL, HALF, SMALL = 29, 21, 1  # residues, that hold 3364, 1764 and 4 bytes


def asking(residues):
    """A request whose outputs hold 4 residues^2 bytes."""
    return ForwardRequest(np.zeros(residues + 2, np.uint8), CONTACTS)


def inside(work):
    return asyncio.run(asyncio.wait_for(work, 20))


class Caller:
    """One who holds replies, and notes the order in which they were given."""

    def __init__(self, memory, name, given):
        self.memory, self.name, self.given = memory, name, given
        self.held = []

    async def take(self, residues, seconds=10.0):
        until = ExitStack()
        await self.memory.hold([asking(residues)], SHAPE, seconds, until, caller=self.name)
        self.held.append(until)
        self.given.append((self.name, residues))

    async def ask(self, residues):
        """Be in the queue, or have it: whichever comes first."""
        task = asyncio.create_task(self.take(residues))
        for _ in range(5):
            await asyncio.sleep(0)
        return task

    async def is_sent(self):
        """Give the oldest reply back, and let those have it whose turn it is."""
        self.held.pop(0).close()
        for _ in range(5):
            await asyncio.sleep(0)


def callers(*names):
    memory, given = ReplyMemory(LIMIT), []
    return memory, given, *(Caller(memory, name, given) for name in names)


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


@pytest.mark.parametrize("residues", [SMALL, HALF])
def test_what_is_taken_is_given_back_at_the_end(residues):
    async def ask():
        memory = ReplyMemory(LIMIT)
        with ExitStack() as until:
            await memory.hold([asking(residues)], SHAPE, 1, until)
            assert memory.held == 4 * residues**2
        assert memory.held == 0

    inside(ask())


def test_more_than_there_is_for_one_is_refused_with_the_numbers():
    for sizes, size, fit in (([30], 3600, 0), ([HALF, HALF, HALF], 5292, 2)):
        with pytest.raises(ReplyTooLarge) as caught:
            ReplyMemory(LIMIT).check([asking(own) for own in sizes], SHAPE)
        assert (caught.value.size, caught.value.limit, caught.value.fit) == (size, FOR_LARGE, fit)
    assert "the first 2 of its items fit: send so many at once, or ask for" in str(caught.value)


def test_a_small_reply_does_not_wait_for_large_ones():
    async def ask():
        _, given, one = callers("one")
        await one.take(ALL)
        large = await one.ask(ALL)
        await one.take(SMALL)
        assert given == [("one", ALL), ("one", SMALL)]
        await one.is_sent()
        await large

    inside(ask())


def test_of_one_caller_who_comes_later_waits_for_its_turn_even_if_it_would_fit():
    async def ask():
        _, given, one = callers("one")
        await one.take(HALF)
        asked = [await one.ask(residues) for residues in (ALL, 2)]
        assert given == [("one", HALF)]
        await one.is_sent()
        assert given == [("one", HALF), ("one", ALL)]
        await one.is_sent()
        assert given == [("one", HALF), ("one", ALL), ("one", 2)]
        await asyncio.gather(*asked)

    inside(ask())


def test_who_holds_something_leaves_half_of_the_rest_to_others():
    async def ask():
        _, given, one, other = callers("one", "other")
        await one.take(HALF)
        waits = await one.ask(HALF)  # there is room for it
        assert given == [("one", HALF)]
        await other.take(HALF)
        await other.is_sent()
        assert given[1:] == [("other", HALF)]
        await one.is_sent()
        await waits

    inside(ask())


def test_nobody_passes_by_one_who_waits_for_room():
    async def ask():
        _, given, one, other, third = callers("one", "other", "third")
        await one.take(HALF)
        large = await other.ask(ALL)
        small = await third.ask(HALF)  # there is room for it, but its turn is later
        assert given == [("one", HALF)]
        await one.is_sent()
        assert given[1:] == [("other", ALL)]
        await other.is_sent()
        assert given[2:] == [("third", HALF)]
        await asyncio.gather(large, small)

    inside(ask())


def test_callers_take_turns_by_bytes():
    async def ask():
        _, given, first, much, little = callers("first", "much", "little")
        await first.take(ALL)
        asked = [await much.ask(ALL) for _ in range(3)]
        asked.append(await little.ask(HALF))
        for caller in (first, much, little, much):
            await caller.is_sent()
        assert given == [
            ("first", ALL),
            ("much", ALL),
            ("little", HALF),
            ("much", ALL),
            ("much", ALL),
        ]
        await asyncio.gather(*asked)

    inside(ask())


def test_who_waits_too_long_is_told_and_leaves_the_others_their_turn():
    async def ask():
        memory, given, one, other = callers("one", "other")
        await one.take(HALF)
        with pytest.raises(DeadlineExceeded):
            await one.take(ALL, seconds=0.01)
        await other.take(HALF)
        assert given == [("one", HALF), ("other", HALF)]
        await one.is_sent()
        await other.is_sent()
        assert memory.held == 0

    inside(ask())


@pytest.mark.parametrize("moment", ["while waiting", "when it is given"])
def test_who_leaves_takes_nothing(moment):
    async def ask():
        memory, given, one, other = callers("one", "other")
        await one.take(ALL)
        leaves = await other.ask(ALL)
        if moment == "when it is given":
            one.held.pop().close()
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        if moment == "while waiting":
            await one.is_sent()
        assert memory.held == 0
        assert given == [("one", ALL)]

    inside(ask())
