"""Engines in Ray actors: the machines of a cluster as places where a worker's child may live.

    with cluster.connected(address):
        Worker(load, slug, start=cluster.starting(place)) for place in cluster.places(device)

    Worker ── Actor ── ray ──> _Engine, on some machine: load(), then run(batch) for each

A place is a GPU, or all CPUs of a machine that has none. What a `Worker` does about a child that
dies or hangs, it does about an actor: Ray finds the place, carries arrays through shared memory and
between machines, and tells when an actor is gone. esm2 has to be installed on every machine.
"""

from __future__ import annotations

import copy
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from esm2.errors import EngineError, Esm2Error, SettingsError
from esm2.worker import Child, Load, Loaded, child

if TYPE_CHECKING:
    from esm2.types import Decided, Float, ForwardRequest, Outputs

# Seconds in which a cluster has to take a connection; Ray itself tries for minutes.
_CONNECTING = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine may run.

    Attributes:
        machine: name of its node, for people.
        node: Ray's id of it.
        cpus, gpus: of the cluster's resources, what an engine there takes.
        memory: bytes of its machine that each engine there may use.
    """

    machine: str
    node: str
    cpus: float
    gpus: float
    memory: int


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be a driver of a cluster.

    Args:
        address: HOST:PORT of its head, ray://HOST:PORT of its client server, "auto" for the one
            that this machine is part of, or "local" to start one here, which ends with the context.

    Raises:
        SettingsError: nobody answers there, or not as a cluster of this Ray.
    """
    _knock(address)
    before = signal.getsignal(signal.SIGTERM)
    try:
        dashboard = False if address == "local" else None
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address, include_dashboard=dashboard, **quiet)  # type: ignore[arg-type]
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"there is no Ray cluster at {address!r}: {reason}", "ray") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray put its own there
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Refuse an address at which nobody takes a connection."""
    where = urlsplit(address if "://" in address else f"//{address}")
    try:
        if where.hostname and where.port:
            socket.create_connection((where.hostname, where.port), _CONNECTING).close()
        elif address not in ("auto", "local"):
            raise ValueError("write HOST:PORT, ray://HOST:PORT, auto or local")
    except (OSError, ValueError) as error:
        raise SettingsError(f"there is no Ray cluster at {address!r}: {error}", "ray") from error


def places(device: str, share: int = 1) -> list[Place]:
    """Every place of the cluster for an engine: its GPUs or, where there are none, its machines.

    Args:
        device: "auto", "cpu" or "cuda".
        share: how many engines share each place.

    Raises:
        SettingsError: there is no such device in the cluster, or another was asked for.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"on Ray, it is auto, cpu or cuda; {device!r} is not", "device")
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    found = []
    for node in nodes if device != "cpu" else []:
        gpus = int(node["Resources"].get("GPU", 0))
        found += [_place(node, 1, gpus, share) for _ in range(gpus)]
    if not found and device != "cuda":
        found = [_place(node, 0, 1, share) for node in nodes if node["Resources"].get("CPU")]
    if not found:
        kind = "GPU" if device == "cuda" else "CPU"
        raise SettingsError(f"the Ray cluster has no {kind}", "ray")
    return found


def _place(node: dict[str, Any], gpus: int, engines: int, share: int) -> Place:
    """One of several equal places of a machine, each of which several engines share."""
    cpus = node["Resources"].get("CPU", 0) / engines
    return Place(
        machine=node["NodeManagerHostname"],
        node=node["NodeID"],
        cpus=min(1, cpus) / share if gpus else cpus / share,  # a GPU keeps less than a CPU busy
        gpus=gpus / share,
        memory=int(node["Resources"].get("memory", 0)) // engines // share,
    )


def starting(place: Place) -> Callable[[Load], Child]:
    """What starts children of a `Worker` at a place; on another machine when that one is lost."""
    return partial(Actor, place)


def alike(there: Sequence[tuple[str, Decided]]) -> None:
    """Refuse engines that would not give the same numbers.

    Args:
        there: (machine, what its engine is).

    Raises:
        SettingsError: which differ, and in what.
    """
    (first, one), *others = there
    for machine, other in others:
        if difference := other.unlike(one):
            raise SettingsError(
                f"the machines of the Ray cluster do not compute the same: on {machine}"
                f" {difference} on {first}; use machines of one kind",
                "ray",
            )


class _Engine:
    """The actor."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loaded: Loaded

    def greeting(self) -> tuple[int, tuple[Decided, Float, float] | Esm2Error]:
        """(pid, what `child.greeting` says or loading raised)."""
        try:
            self._loaded = self._load()
            return os.getpid(), child.greeting(self._loaded)
        except Esm2Error as error:
            return os.getpid(), error
        except Exception as error:
            return os.getpid(), EngineError(f"it cannot load: {type(error).__name__}: {error}")

    def answer(self, requests: list[ForwardRequest], *, ahead: bool) -> list[Outputs] | Esm2Error:
        return child.answer(self._loaded, requests, ahead=ahead)

    def prove(self, *, ahead: bool) -> None:
        """Be gone after a fault that makes everything fail."""
        try:
            child.known_answer(self._loaded, ahead=ahead)
        except Exception as error:
            print(f"esm2: an actor that computes ends: {error}", flush=True)
            os._exit(70)

    def watch(self) -> None:
        """Never return: whoever waits for it learns that the actor is gone."""
        threading.Event().wait()


class Actor:
    """A `worker.Child` at a place of the cluster."""

    def __init__(self, place: Place, load: Load) -> None:
        self.pid = 0
        self._how = "Ray ended it"
        remote: Any = ray.remote(concurrency_groups={"beside": 1, "ahead": 1})  # type: ignore[call-overload]
        actor = remote(_Engine).options(
            num_cpus=place.cpus,
            num_gpus=place.gpus,
            max_restarts=0,  # that another takes its place is the Worker's to see
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node, soft=True),
        )
        self._actor = actor.remote(load)
        self._greeting = self._actor.greeting.remote()
        self._watch = self._actor.watch.options(concurrency_group="beside").remote()

    @property
    def ended(self) -> bool:
        return bool(ray.wait([self._watch], timeout=0)[0])

    def receive(self, deadline: float) -> object:
        self.pid, hello = self._get(self._greeting, deadline)
        return hello

    def ask(self, requests: list[ForwardRequest], deadline: float, *, ahead: bool) -> object:
        where = {"concurrency_group": "ahead"} if ahead else {}
        asked = self._actor.answer.options(**where).remote(requests, ahead=ahead)
        answer = self._get(asked, deadline)
        if child.is_fault(answer):
            self._actor.prove.options(**where).remote(ahead=ahead)
        return answer

    def _get(self, reference: Any, deadline: float) -> Any:
        """A value, as memory of this process: what Ray has of it cannot be written to.

        Raises:
            TimeoutError: it was not there by the deadline.
            EOFError: the actor is gone.
        """
        try:
            return copy.deepcopy(ray.get(reference, timeout=max(0, deadline - time.monotonic())))
        except TimeoutError:
            raise
        except RayError as error:
            self._how = _told(error)
            raise EOFError(self._how) from error

    def tell(self) -> None:
        """Nothing: `ray stack` and Ray's dashboard show where an actor stands."""

    def kill(self) -> str:
        ray.kill(self._actor)
        return self._how

    def end(self) -> None:
        self.kill()


def _told(error: RayError) -> str:
    """How an actor ended, of what Ray says in many lines."""
    text = str(error)
    detail = text.partition("Worker exit detail: ")[2] or text.strip().splitlines()[-1]
    return detail.partition(". ")[0].strip()
