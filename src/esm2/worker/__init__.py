"""An engine in a process of its own: an executor that survives what it computes.

    requests ──> channel ──> child: load(), then run(batch) for each ──> channel ──> outputs

While one batch is computed, a short one may go ahead of it, on a channel of its own.

The child can die (killed, out of memory, a fault of the device) or hang; this process never does
either. A child that died, or gave no answer in a time sized by the work it had, is an EngineLost of
the batch that it had in hand, and another one takes its place at the next call. Where a child lives
is another's to say (`Child`): in a process of this machine, or in a cluster.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol, cast

import numpy as np

from esm2 import budget
from esm2.errors import EngineCrashed, EngineHung, Esm2Error, ModelUnavailable
from esm2.numerics import KNOWN_ANSWER
from esm2.types import Decided, Float, ForwardRequest, Outputs
from esm2.watch import Restart, Watch, nobody
from esm2.worker import channel

_log = logging.getLogger("esm2.worker")

# A pass may take so many times as long as it should before it counts as hung.
_PATIENCE = 10.0
# Seconds until a new child must have loaded; 3B from a slow disk takes minutes.
_LOADING = 900.0
# Seconds that a child has to end by itself when it is told to.
_ENDING = 5.0
# How many children are started at once if something kills them while they load.
_TRIES = 3
# Pauses before another try when a child cannot be started, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Loaded(Protocol):
    """What a child serves: `engine.Engine`, or anything that behaves like it."""

    decided: Decided

    def run(self, requests: list[ForwardRequest], *, ahead: bool = False) -> list[Outputs]:
        """An Executor; `ahead` only where `decided.gives_way`, while another is computed."""


#: Makes what a child serves; called in the child. It travels there as a pickle.
Load = Callable[[], Loaded]


class Child(Protocol):
    """Where a worker's engine lives.

    What asks or receives raises TimeoutError when the deadline, of time.monotonic(), is over, and
    EOFError or another OSError when the child is gone.
    """

    @property
    def pid(self) -> int:
        """Of its process."""

    @property
    def ended(self) -> bool:
        """Whether it is gone, as far as is known without asking it."""

    def receive(self, deadline: float) -> object:
        """Its greeting, as `child.greeting` gives it, or what loading raised."""

    def ask(self, requests: list[ForwardRequest], deadline: float, *, ahead: bool) -> object:
        """Its outputs, or the error to which they came; `ahead` of what it was asked otherwise."""

    def tell(self) -> None:
        """Let it write where it stands to standard error, if it can by now."""

    def kill(self) -> str:
        """Make sure that it is gone; how it ended."""

    def end(self) -> None:
        """Let it exit; of one that has ended, give back what it held."""


class Worker:
    """An Executor whose engine lives in a child process.

    Calls must not overlap, but for one at a time of `ahead`.

    The constructor starts the child; `decided` waits until it has loaded.

    Args:
        load: makes the engine, in the child.
        slug: of the model, for errors.
        hung_seconds: what a pass may take beside ten times what it should take.
        watch: told of each restart.
        start: starts a child; by default a process of this one.
    """

    def __init__(
        self,
        load: Load,
        slug: str,
        *,
        hung_seconds: float = 60.0,
        watch: Watch = nobody,
        start: Callable[[Load], Child] | None = None,
    ) -> None:
        self._load = load
        self._slug = slug
        self._hung_seconds = hung_seconds
        self._watch = watch
        self._decided: Decided | None = None
        self._known: Float | None = None
        self._speed = 0.0  # work in a second
        self._lost = ""  # how the last child ended, as an error's code, until another is there
        self._pause, self._not_before, self._reason = 0.0, 0.0, ""
        self._closed = threading.Event()
        self._start = start or Process
        self._child = self._start(load)

    @property
    def decided(self) -> Decided:
        """What the engine is; waits until it has loaded.

        Raises:
            Esm2Error: what the loading of it raised.
            ModelUnavailable: the child ended before it had loaded.
        """
        if self._decided is None:
            self._decided, self._known, self._speed = self._greeting(tries=1)
        return self._decided

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def __call__(self, requests: list[ForwardRequest]) -> list[Outputs]:
        """Compute a batch in the child.

        Raises:
            EngineCrashed, EngineHung: the child is gone, and this batch is what it had in hand.
            ModelUnavailable: there is no child, and none can be started.
            Esm2Error: what the engine raised.
        """
        decided = self.decided
        if self._child.ended or self._lost:
            self._restart(decided)
        return self._ask(self._child, requests, decided, ahead=False)

    def ahead(self, requests: list[ForwardRequest]) -> list[Outputs]:
        """Compute a batch in the child while another is computed, which stops meanwhile.

        Only where `decided.gives_way`. A child that is gone is replaced at the next call.

        Raises:
            EngineCrashed, EngineHung: the child is gone, with all that it had in hand.
            Esm2Error: what the engine raised.
        """
        decided, child = self.decided, self._child
        # The child first: another one is there only after `_lost` is set, and until it is what the
        # one before it was.
        if child.ended or self._lost:
            raise EngineCrashed(self._slug, "before it was asked")
        return self._ask(child, requests, decided, ahead=True)

    def _ask(
        self, child: Child, requests: list[ForwardRequest], decided: Decided, *, ahead: bool
    ) -> list[Outputs]:
        work = sum(budget.work(request, decided.shape) for request in requests)
        allowed = self._hung_seconds + _PATIENCE * work / self._speed
        try:
            answer = child.ask(requests, time.monotonic() + allowed, ahead=ahead)
        except TimeoutError as error:
            self._gone(child, EngineHung.code)  # first, since the other call's answer ends with it
            child.kill()
            raise EngineHung(self._slug, allowed) from error
        except (OSError, EOFError) as error:
            how = child.kill()
            self._gone(child, EngineCrashed.code)
            raise EngineCrashed(self._slug, how) from error
        if isinstance(answer, Esm2Error):
            raise answer
        return cast("list[Outputs]", answer)

    def _gone(self, child: Child, code: str) -> None:
        if child is self._child:
            self._lost = self._lost or code

    def tell(self) -> None:
        """Have the child write where it stands to standard error, whatever it is doing.

        One that loads cannot yet, and would die of the signal.
        """
        self._child.tell()

    def close(self) -> None:
        """End the child, in whatever it is doing; one that does not end by itself is killed.

        May be called from another thread than that of a call, which then fails.
        """
        self._closed.set()
        self._child.end()

    # --- starting ------------------------------------------------------------------------------

    def _greeting(self, tries: int) -> tuple[Decided, Float, float]:
        """What a child says when it has loaded: (decided, known answer, work in a second).

        Args:
            tries: how many children; whatever kills one while it loads may spare the next.
        """
        while True:
            try:
                greeting = self._child.receive(time.monotonic() + _LOADING)
                break
            except TimeoutError as error:
                self._child.kill()
                raise ModelUnavailable(
                    self._slug, f"its process did not load in {_LOADING:.0f} s"
                ) from error
            except (OSError, EOFError) as error:
                how = self._child.kill()
                tries -= 1
                if not tries or self._closed.is_set():
                    raise ModelUnavailable(
                        self._slug, f"its process ended while it loaded ({how})"
                    ) from error
            self._replace_child()
        if isinstance(greeting, Esm2Error):
            self._child.kill()
            raise greeting
        return cast("tuple[Decided, Float, float]", greeting)

    def _replace_child(self) -> None:
        """Start another one.

        Raises:
            ModelUnavailable: none can be started.
        """
        how = self._child.kill()
        _log.warning(
            "the process that computes %s is gone (%s, %s): another is started",
            self._slug,
            self._lost or EngineCrashed.code,
            how,
        )
        self._child.end()
        try:
            self._child = self._start(self._load)
        except OSError as error:  # no memory, no file, no process is left
            raise ModelUnavailable(
                self._slug, f"no process can be started for it: {error.strerror or error}"
            ) from error
        if self._closed.is_set():  # meanwhile, and who did that saw the one before
            self._child.end()

    def _restart(self, before: Decided) -> None:
        """Start another child, which has to be what the one before it was.

        Raises:
            ModelUnavailable: it cannot be, or is not yet to be tried again.
        """
        wait = self._not_before - time.monotonic()
        if self._closed.is_set() or wait > 0:
            raise ModelUnavailable(self._slug, self._reason, max(1, round(wait)))
        self._lost = self._lost or EngineCrashed.code  # nothing goes ahead until all is well
        try:
            self._replace_child()
            decided, known, self._speed = self._greeting(_TRIES)
            if decided.weights_sha256 != before.weights_sha256:
                raise ModelUnavailable(
                    self._slug, f"its weights changed on disk: they were {before.weights_sha256}"
                )
            if difference := decided.unlike(before):
                raise ModelUnavailable(self._slug, f"where it was started anew, {difference}")
            if self._known is None or not np.allclose(
                known, self._known, rtol=0, atol=KNOWN_ANSWER
            ):
                raise ModelUnavailable(self._slug, "it gives another answer than before")
        except Esm2Error as error:
            self._child.kill()
            self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
            self._not_before = time.monotonic() + self._pause
            self._reason = error.reason if isinstance(error, ModelUnavailable) else str(error)
            raise ModelUnavailable(self._slug, self._reason, round(self._pause)) from error
        self._watch(Restart(self._slug, self._lost))
        self._lost, self._pause = "", 0.0


class Process:
    """A process of this one, and the channel to it."""

    def __init__(self, load: Load) -> None:
        with ExitStack() as ours, ExitStack() as theirs:

            def pair() -> tuple[socket.socket, int]:
                one, other = socket.socketpair()
                return ours.enter_context(one), theirs.enter_context(other).fileno()

            (self._channel, other), (self._ahead, other_ahead) = pair(), pair()
            files = [other, other_ahead]
            # -P: no module of the current directory is taken for one of ours.
            command = [sys.executable, "-P", "-m", "esm2.worker.child", *map(str, files)]
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                command,
                pass_fds=files,
                stdin=subprocess.PIPE,  # its end tells the child that this process is gone
                stdout=2,
            )
            ours.pop_all()
        self._lock = threading.Lock()
        self._greeted = False
        try:
            channel.send(self._channel, sys.path, None)
            channel.send(self._channel, load, None)
        except OSError:
            pass  # it died at once; who waits for its greeting is told

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, requests: list[ForwardRequest], deadline: float, *, ahead: bool) -> object:
        own = self._ahead if ahead else self._channel
        channel.send(own, requests, deadline)
        return channel.receive(own, deadline)

    def receive(self, deadline: float) -> object:
        greeting = channel.receive(self._channel, deadline)
        self._greeted = True
        return greeting

    def tell(self) -> None:
        if self._greeted:
            self._process.send_signal(signal.SIGUSR1)

    def end(self) -> None:
        """Let it finish nothing, but exit by itself."""
        self._hang_up()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self.kill()
        self._channel.close()
        self._ahead.close()

    def kill(self) -> str:
        """Make sure that it is gone; how it ended."""
        with self._lock:
            # One that is dying by itself may say how.
            try:
                status = self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                status = self._process.wait()
            self._hang_up()
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def _hang_up(self) -> None:
        """Both ends see it; whoever reads in another thread is woken, and the file stays open."""
        for own in (self._channel, self._ahead):
            with suppress(OSError):
                own.shutdown(socket.SHUT_RDWR)
        if self._process.stdin:
            self._process.stdin.close()
