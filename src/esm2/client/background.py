"""An event loop in a thread of its own, for callers who have none.

    caller's thread   run(coroutine) ───────────────┐ waits; Ctrl-C cancels what it waits for
    loop's thread                     coroutine ... ┘

Synchronous code, notebooks (whose thread has a loop already) and threads use the same client.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar
from weakref import WeakSet

from esm2.client.connection import CLOSED

Answer = TypeVar("Answer")


class Background:
    """A running loop. Close it, or its thread stays until the program ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # What was submitted, and may be cancelled. What that has begun ends with it: where one of
        # anyio's own tasks is cancelled from outside, a coroutine of it is never awaited.
        self._own: WeakSet[Coroutine[Any, Any, Any]] = WeakSet()
        # What is submitted before the end is known to the loop before it ends.
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="esm2-client", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def submit(self, work: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        """Start it in the loop; cancelling the future cancels it there.

        Raises:
            ValueError: the client is closed.
        """
        with self._lock:
            if not self._closed:
                self._own.add(work)
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise ValueError(CLOSED)

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Wait for its answer; whatever ends the waiting ends the work.

        Raises:
            ValueError: the client is closed, or another thread closes it meanwhile.
        """
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError:  # by `close`: nobody else has the future
            raise ValueError(CLOSED) from None
        finally:
            future.cancel()

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Cancel what runs, do the last thing, and end the thread; any thread may, and again."""
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            asyncio.run_coroutine_threadsafe(self._end(last), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _end(self, last: Callable[[], Awaitable[None]]) -> None:
        for task in asyncio.all_tasks():
            if task.get_coro() in self._own:
                task.cancel()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        await last()
        await self._loop.shutdown_asyncgens()
