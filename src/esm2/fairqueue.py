"""A queue that is fair between callers, and between the requests of each: start-time fair queueing.

Each caller has a place on a line of virtual time, and goes forward on it by what it is given; who
is furthest behind is next. So whoever asks for much waits behind itself, and whoever asks for
little passes by. A caller who comes new stands where the queue is now.

What one caller has waiting is in its order, but for what lets others pass: until the caller was
given so much, whatever it asks for later goes first. So a long request does not hold up the short
ones of the same caller, and does not wait for ever.

Source: P. Goyal, H. M. Vin, H. Cheng, Start-time fair queueing, SIGCOMM 1996.
"""

from __future__ import annotations

import heapq
import sys
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Callers who have nothing waiting are forgotten when so many are remembered.
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands among what its caller has waiting."""

    due: float
    number: int


@dataclass(slots=True, eq=False)
class _Caller(Generic[Item]):
    """What one caller has waiting, in its order.

    Attributes:
        start: where it stands on the line of all.
        given: what it was given since it has something waiting.
    """

    name: str
    start: float
    number: int
    given: float = 0.0
    things: list[tuple[Place, Item, float]] = field(default_factory=list)

    def __lt__(self, other: _Caller[Item]) -> bool:
        return (self.start, self.number) < (other.start, other.number)

    def take(self, suits: Callable[[Item], bool], look: int) -> Item | None:
        """The first of so many things that suits; the caller goes forward by what it takes."""
        for index, (_, item, takes) in enumerate(islice(self.things, look)):
            if suits(item):
                del self.things[index]
                self.given += takes
                self.start += takes
                return item
        return None


class FairQueue(Generic[Item]):
    """Things that wait, each for a caller and with what it will take, in any unit."""

    def __init__(self) -> None:
        self._ahead: deque[Item] = deque()
        self._callers: dict[str, _Caller[Item]] = {}  # who have something waiting
        self._turns: list[_Caller[Item]] = []  # a heap of these, and of some who have nothing now
        self._numbers = count()
        self._now = 0.0
        self._finish: dict[str, float] = {}  # where those stand who have nothing waiting

    def __len__(self) -> int:
        return len(self._ahead) + sum(len(own.things) for own in self._callers.values())

    def __bool__(self) -> bool:
        return bool(self._ahead or self._callers)

    def __iter__(self) -> Iterator[Item]:
        """Everything, in no order."""
        yield from self._ahead
        for own in self._callers.values():
            yield from (item for _, item, _ in own.things)

    @property
    def callers(self) -> int:
        """How many callers have something waiting."""
        return len(self._callers)

    def has(self, caller: str) -> bool:
        """Whether something of a caller waits."""
        return caller in self._callers

    def put(self, item: Item, caller: str, takes: float, lets_pass: float = 0.0) -> Place:
        """Queue something at its fair place.

        Args:
            lets_pass: how much its caller may be given first of what comes later.
        """
        own = self._callers.get(caller)
        if own is None:
            start = max(self._now, self._finish.pop(caller, 0.0))
            own = self._callers[caller] = _Caller(caller, start, next(self._numbers))
            heapq.heappush(self._turns, own)
        place = Place(own.given + lets_pass, next(self._numbers))
        insort(own.things, (place, item, takes), key=_place)
        return place

    def drop(self, place: Place, caller: str) -> None:
        """Take out what waits at a place, as if it had never been put there."""
        own = self._callers[caller]
        del own.things[bisect_left(own.things, place, key=_place)]
        if not own.things:
            self._leaves(own)
        if len(self._turns) > 2 * len(self._callers) + 64:  # seldom enough to cost nothing
            self._turns = list(self._callers.values())
            heapq.heapify(self._turns)

    def put_ahead(self, item: Item) -> None:
        """Queue something before everything of any caller, the newest first."""
        self._ahead.appendleft(item)

    def pop(self, suits: Callable[[Item], bool], *, look: int = sys.maxsize) -> Item | None:
        """Take the first thing that suits; None where none does.

        Args:
            look: at how many things. Those that do not suit are passed by, first those of the same
                caller, and keep their places.
        """
        for index, item in enumerate(islice(self._ahead, look)):
            if suits(item):
                del self._ahead[index]
                return item
        look -= len(self._ahead)
        found = None
        asked: list[_Caller[Item]] = []
        while self._turns and found is None and look > 0:
            own = heapq.heappop(self._turns)
            if not own.things:  # all of it was dropped
                continue
            asked.append(own)
            start = own.start
            found = own.take(suits, look)
            look -= len(own.things)
            if found is not None:
                self._now = max(self._now, start)
        for own in asked:
            if own.things:
                heapq.heappush(self._turns, own)
            else:
                self._leaves(own)
        return found

    def pop_of(self, caller: str, suits: Callable[[Item], bool]) -> Item | None:
        """Take the next thing of a caller if it suits, whoever's turn it is."""
        own = self._callers.get(caller)
        found = None if own is None else own.take(suits, 1)
        if own is not None and found is not None:
            if own.things:
                heapq.heapify(self._turns)  # it has gone forward
            else:
                self._leaves(own)
        return found

    def _leaves(self, own: _Caller[Item]) -> None:
        """A caller has nothing waiting any more."""
        del self._callers[own.name]
        self._finish[own.name] = own.start
        if not self._callers:
            self._finish.clear()
            self._turns.clear()
            self._now = 0.0
        elif len(self._finish) > _REMEMBERED:
            self._finish = {name: at for name, at in self._finish.items() if at > self._now}

    def clear(self) -> list[Item]:
        """Take everything, in no order."""
        everything = list(self)
        self._ahead.clear()
        for own in list(self._callers.values()):
            self._leaves(own)
        return everything


def _place(thing: tuple[Place, Item, float]) -> Place:
    return thing[0]
