"""A queue that is fair between callers: start-time fair queueing.

Each thing that waits has a place on a line of virtual time. A caller's next thing stands behind its
last one by what that one takes; a caller who comes new stands where the queue is now. So whoever
asks for much waits behind itself, and whoever asks for little passes by; one caller alone has a
plain queue.

Source: P. Goyal, H. M. Vin, H. Cheng, Start-time fair queueing, SIGCOMM 1996.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Callers who have nothing waiting are forgotten when so many are remembered.
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands on the line of virtual time."""

    start: float
    number: int


class FairQueue(Generic[Item]):
    """Things that wait, each for a caller and with what it will take, in any unit."""

    def __init__(self) -> None:
        self._ahead: deque[Item] = deque()
        self._heap: list[tuple[Place, Item, str]] = []
        self._gone: set[Place] = set()  # of the heap, not cleared away yet
        self._numbers = count()
        self._now = 0.0
        self._finish: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._ahead) + len(self._heap) - len(self._gone)

    def __iter__(self) -> Iterator[Item]:
        """Everything, in no order."""
        yield from self._ahead
        yield from (item for place, item, _ in self._heap if place not in self._gone)

    @property
    def callers(self) -> int:
        """How many callers have something waiting."""
        return len(self._waiting)

    def has(self, caller: str) -> bool:
        """Whether something of a caller waits."""
        return caller in self._waiting

    def put(self, item: Item, caller: str, takes: float) -> Place:
        """Queue something behind what its caller has waiting, at its fair place among others."""
        start = max(self._now, self._finish.get(caller, 0.0))
        self._finish[caller] = start + takes
        self._waiting[caller] += 1
        place = Place(start, next(self._numbers))
        heapq.heappush(self._heap, (place, item, caller))
        return place

    def drop(self, place: Place, caller: str, takes: float) -> None:
        """Take out what waits at a place, as if it had never been put there."""
        self._gone.add(place)
        self._left(caller)
        if caller in self._finish:
            self._finish[caller] -= takes
        if len(self._gone) > len(self._heap) // 2:  # seldom enough to cost nothing
            self._heap = [entry for entry in self._heap if entry[0] not in self._gone]
            heapq.heapify(self._heap)
            self._gone.clear()
            self._forget()

    def put_ahead(self, item: Item) -> None:
        """Queue something before everything of any caller, the newest first."""
        self._ahead.appendleft(item)

    def pop(self, suits: Callable[[Item], bool], *, anywhere: bool = True) -> Item | None:
        """Take the first thing that suits; None where none does.

        Args:
            anywhere: whether things that do not suit are passed by; they keep their places.
        """
        for index, item in enumerate(self._ahead):
            if suits(item):
                del self._ahead[index]
                return item
            if not anywhere:
                return None
        passed: list[tuple[Place, Item, str]] = []
        found = None
        while self._heap and (anywhere or not passed):
            entry = heapq.heappop(self._heap)
            if entry[0] in self._gone:
                self._gone.remove(entry[0])
                continue
            if suits(entry[1]):
                found = entry
                break
            passed.append(entry)
        for entry in passed:
            heapq.heappush(self._heap, entry)
        if found is None:
            return None
        place, item, caller = found
        self._now = max(self._now, place.start)
        self._left(caller)
        self._forget()
        return item

    def _left(self, caller: str) -> None:
        self._waiting[caller] -= 1
        if not self._waiting[caller]:
            del self._waiting[caller]

    def _forget(self) -> None:
        if not self._heap:
            self._finish.clear()
            self._now = 0.0
        elif len(self._finish) > _REMEMBERED:
            now = self._now
            self._finish = {
                caller: finish
                for caller, finish in self._finish.items()
                if finish > now or caller in self._waiting
            }

    def clear(self) -> list[Item]:
        """Take everything, in no order."""
        everything = list(self)
        self._ahead.clear()
        self._heap.clear()
        self._gone.clear()
        self._waiting.clear()
        self._forget()
        return everything
