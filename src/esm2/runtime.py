"""The composition root: settings -> engines -> batchers -> services.

Everything is built here, once, and closed
here; nothing is global.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esm2 import budget
from esm2.batcher import WORTH_A_PASS, Batcher, Budget
from esm2.cache import Cache, MemoryCache, RedisCache
from esm2.catalog import canonical
from esm2.errors import MissingExtra, ModelNotServed, SettingsError
from esm2.loading import Load, Spec, checkpoint_path, parse_spec, parse_specs, say_unused
from esm2.service import Allowance, Service
from esm2.settings import Settings
from esm2.types import Decided, Executor, Outputs, Want
from esm2.watch import Watch, nobody
from esm2.worker import Worker

if TYPE_CHECKING:
    from esm2.cluster import Place
    from esm2.tokens.book import TokenBook


# A request that comes waits for the pass that runs; so long may several together take.
_PASS_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded model with a batcher in front.

    Attributes:
        decided: what it is and how it runs.
        submit: queue one request; concurrent requests share forward passes.
        executors: how many passes are computed at once.
    """

    decided: Decided
    submit: Callable[..., Future[Outputs]]
    executors: int = 1


@contextmanager
def open_model(
    model: str | Spec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    pack_tokens: int = Settings.model_fields["pack_tokens"].default,
    queue_tokens: int = Settings.model_fields["queue_tokens"].default,
    on_fetch: Callable[[str], None] = lambda _: None,
) -> Iterator[Served]:
    """Load one model into this process; unloaded when the context ends.

    Args:
        model: `SLUG` or `SLUG=PATH`, or the same as a Spec.
        device, dtype: as in settings.
        pack_tokens, queue_tokens: the batcher's budget of a forward pass and of its queue.
        on_fetch: told each line about what is fetched, and what of a checkpoint is not used.

    Raises:
        UnknownModel, SettingsError, CheckpointError, HubError, MissingExtra.
    """
    spec = parse_spec(model) if isinstance(model, str) else model
    engine = Load(spec, device, dtype, pack_tokens, checkpoint_path(spec, on_fetch))()
    say_unused(engine.decided, on_fetch)
    batcher = _batcher([engine.run], engine.decided, Budget(pack_tokens, queue_tokens), nobody)
    try:
        yield Served(engine.decided, batcher.submit)
    finally:
        batcher.close(drain=False)


@contextmanager
def open_on_ray(
    address: str,
    model: str | Spec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    pack_tokens: int = Settings.model_fields["pack_tokens"].default,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Served]:
    """As `open_model`, on every device of a Ray cluster; this process needs no torch.

    Args:
        address: of the cluster, as `cluster.connected` takes it.
        say: told each line about what of a checkpoint is not used.

    Raises:
        UnknownModel, SettingsError, CheckpointError, HubError, MissingExtra.
    """
    spec = parse_spec(model) if isinstance(model, str) else model
    with ExitStack() as stack:
        places = _connect(stack, address, device, 1)
        workers = _start_on_ray(stack, places, Load(spec, device, dtype, pack_tokens))
        decided = _decided(workers, places)
        say_unused(decided, say)
        # Whoever submits bounds what waits.
        batcher = _batcher(workers, decided, Budget(pack_tokens, sys.maxsize), nobody)
        stack.callback(batcher.close, drain=False)
        for worker in workers:
            stack.callback(worker.close)
        yield Served(decided, batcher.submit, len(workers))


def _connect(stack: ExitStack, address: str, device: str, share: int) -> list[Place]:
    """The places of a Ray cluster, of which this process is a driver until the stack ends."""
    try:
        from esm2 import cluster
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "ray", "ray") from error
    stack.enter_context(cluster.connected(address))
    return cluster.places(device, share)


def _start_on_ray(
    stack: ExitStack, places: Sequence[Place], load: Load, **how: Any
) -> list[Worker]:
    """A worker at each place, which loads now; closed with the stack."""
    from esm2 import cluster

    if load.spec.path:  # the directory of this process is not that of theirs
        load = replace(load, spec=Spec(load.spec.slug, load.spec.path.absolute()))
    workers = []
    for place in places:
        worker = Worker(load, load.spec.slug, start=cluster.starting(place), **how)
        stack.callback(worker.close)
        workers.append(worker)
    return workers


def _decided(workers: Sequence[Worker], places: Sequence[Place] = ()) -> Decided:
    """What the engines of workers are; waits until all have loaded."""
    decided = [worker.decided for worker in workers]
    if places:
        from esm2 import cluster

        machines = (place.machine for place in places)
        cluster.alike(list(zip(machines, decided, strict=True)))
    return decided[0]


def _batcher(
    executors: Sequence[Executor],
    decided: Decided,
    limits: Budget,
    watch: Watch,
    ahead: Sequence[Executor] = (),
) -> Batcher:
    return Batcher(
        executors,
        partial(budget.cost, shape=decided.shape),
        limits,
        work=partial(budget.work, shape=decided.shape),
        name=decided.slug,
        watch=watch,
        ahead=ahead,
    )


def save_pt(path: Path, content: Mapping[str, object]) -> None:
    """Write a .pt file for torch.load; its numpy arrays become tensors, at any depth of dicts.

    Raises:
        OSError: the disk is full, or failed.
    """
    from esm2.engine.pt import save

    save(path, content)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a server needs: its settings and a service for each model.

    Attributes:
        services: slug -> service, in the order in which they were named.
        reply_bytes: what answers may hold that are computed or on their way.
        batchers: slug -> its batcher, for whoever watches the queues.
        book: the tokens of the database, where there is one.
        cache: of results, where there is one.
        stopping: set when the server has been told to stop.
        tell: has the workers write where they stand to standard error.
    """

    settings: Settings
    services: dict[str, Service]
    reply_bytes: int = 1 << 30
    batchers: Mapping[str, Batcher] = field(default_factory=dict)
    book: TokenBook | None = None
    cache: Cache | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    tell: Callable[[], None] = lambda: None

    def service(self, name: str) -> Service:
        """The service of a model under any of its names.

        Raises:
            UnknownModel: nobody knows it.
            ModelNotServed: it is known, but not served here; says what to run to get it.
        """
        slug = canonical(name, self.services)
        if slug not in self.services:
            raise ModelNotServed(slug, list(self.services))
        return self.services[slug]


@contextmanager
def open_runtime(
    settings: Settings,
    on_fetch: Callable[[str], None],
    watch: Watch = nobody,
    meanwhile: Callable[[], None] = lambda: None,
    *,
    demo: bool = True,
) -> Iterator[Runtime]:
    """Load every model that the settings name.

    Each engine runs in a process of its own, `settings.workers` of them for each model; or, with
    `settings.ray`, on each device of a cluster.

    Args:
        on_fetch: told each line about what is fetched.
        watch: told of each forward pass and each restart.
        meanwhile: called while the models load.
        demo: whether esm2-demo is there also if it is not named.

    Raises:
        UnknownModel, SettingsError, CheckpointError, HubError, MissingExtra.
    """
    specs = parse_specs(settings.model, demo=demo)
    with ExitStack() as stack:
        book = _open_book(settings.token_database, stack)
        places = _connect(stack, settings.ray, settings.device, len(specs)) if settings.ray else []
        how: dict[str, Any] = {"hung_seconds": settings.hung_seconds, "watch": watch}
        computing = (settings.device, settings.dtype, settings.pack_tokens)
        started = [
            _start_on_ray(stack, places, Load(spec, *computing), **how)
            if places
            else _start_workers(stack, spec, settings, on_fetch, **how)
            for spec in specs
        ]
        meanwhile()
        batchers: dict[str, Batcher] = {}
        models: list[tuple[Decided, int]] = []
        limits = Budget(
            settings.pack_tokens, settings.queue_tokens, settings.max_wait_seconds, _PASS_SECONDS
        )
        for workers in started:
            decided = _decided(workers, places)
            say_unused(decided, on_fetch)
            ahead = [worker.ahead for worker in workers] if decided.gives_way else []
            batcher = _batcher(workers, decided, limits, watch, ahead)
            stack.callback(batcher.close, drain=False)
            for worker in workers:
                # Before its batcher: what it computes now is for nobody, and may never end.
                stack.callback(worker.close)
            batchers[decided.slug] = batcher
            models.append((decided, len(workers)))
        # Half of the memory is for forward passes, all of which may happen at once; half for what
        # they gave and what is on its way to callers. On Ray, passes have that of other machines.
        memory = settings.memory_mb << 20 or budget.free_bytes()
        passes = sum(workers for _, workers in models)
        room = min((place.memory for place in places), default=memory // 2 // passes)
        cache = _open_cache(settings)
        services = {}
        for decided, _ in models:
            batcher = batchers[decided.slug]
            allowance = Allowance(_room_for(decided, room), settings.max_residues)
            services[decided.slug] = Service(
                decided,
                batcher.submit,
                submit_all=batcher.submit_all,
                running=batcher.running,
                allowance=allowance,
                cache=cache,
            )
            services[decided.slug].warm_up()

        def tell() -> None:
            for workers in started:
                for worker in workers:
                    worker.tell()

        yield Runtime(settings, services, memory // 2, batchers, book, cache, tell=tell)


def _room_for(decided: Decided, room: int) -> int | None:
    """Of the bytes that a worker may take, those for a request; None where that is not bounded.

    The rest is for what goes ahead of it, but for its outputs, which replies have room for.
    """
    if decided.device != "cpu":
        return None  # the memory model was not measured
    if not decided.gives_way:
        return room
    beside = budget.MemoryModel(decided.shape, decided.threads).peak(Want(), WORTH_A_PASS)
    return max(0, room - beside)


@contextmanager
def open_front(
    settings: Settings, services: Callable[[Cache | None], dict[str, Service]]
) -> Iterator[Runtime]:
    """A runtime whose models compute elsewhere.

    Args:
        services: made with the cache of results, by slug.

    Raises:
        SettingsError, MissingExtra.
    """
    with ExitStack() as stack:
        book = _open_book(settings.token_database, stack)
        cache = _open_cache(settings)
        memory = settings.memory_mb << 20 or budget.free_bytes()
        yield Runtime(settings, services(cache), memory // 2, {}, book, cache)


def _open_cache(settings: Settings) -> Cache | None:
    """Where results are kept; None where they are not."""
    if not settings.cache_mb:
        if settings.cache_url:
            raise SettingsError(
                "it needs cache_mb, the most that one result may hold there", "cache_url"
            )
        return None
    limit = settings.cache_mb << 20
    return RedisCache(settings.cache_url, limit) if settings.cache_url else MemoryCache(limit)


def _open_book(url: str, stack: ExitStack) -> TokenBook | None:
    """The tokens of a database, followed until the stack ends; None without one."""
    if not url:
        return None
    try:
        from esm2.tokens.book import TokenBook
        from esm2.tokens.store import TokenStore
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "sqlalchemy", "server") from error
    book = TokenBook(TokenStore(url))
    stack.callback(book.close)
    return book


def _start_workers(
    stack: ExitStack,
    spec: Spec,
    settings: Settings,
    on_fetch: Callable[[str], None],
    **how: Any,
) -> list[Worker]:
    """The workers of a model, which load now; closed with the stack."""
    path = checkpoint_path(spec, on_fetch)
    devices = [name.strip() for name in settings.device.split(",")]
    count = max(settings.workers, len(devices))
    workers = []
    for index in range(count):
        device = devices[index % len(devices)]
        load = Load(spec, device, settings.dtype, settings.pack_tokens, path, count)
        worker = Worker(load, spec.slug, **how)
        stack.callback(worker.close)
        workers.append(worker)
    return workers
