"""The composition root: settings -> engines -> batchers -> services.

The only module that knows the engine and the doors. Everything is built here, once, and closed
here; nothing is global.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from esm2 import budget, hub
from esm2.batcher import Batcher, Budget
from esm2.cache import Cache, MemoryCache, RedisCache
from esm2.catalog import DEMO_SLUG, canonical, find
from esm2.errors import CheckpointError, MissingExtra, ModelNotServed, SettingsError
from esm2.service import Allowance, Service
from esm2.settings import Settings
from esm2.types import Decided, Executor, Outputs
from esm2.watch import Watch, nobody
from esm2.worker import Worker

if TYPE_CHECKING:
    from esm2.engine.engine import Engine
    from esm2.tokens.book import TokenBook

DEMO_DIRECTORY = Path(__file__).parent / "demo"


@dataclass(frozen=True, slots=True)
class Spec:
    """A model as a person names it: SLUG, or SLUG=PATH.

    Attributes:
        slug: the name it answers under.
        path: of the checkpoint; None for one that the catalog or the package knows.
    """

    slug: str
    path: Path | None


def parse_spec(text: str) -> Spec:
    """Read `SLUG` or `SLUG=PATH`.

    Raises:
        UnknownModel: a slug without a path that nobody knows.
        SettingsError: not of that form, a path alone, or esm2-demo with another checkpoint.
    """
    name, given, path = text.partition("=")
    if not given:
        if find(name) is None and (name.startswith(("/", ".", "~")) or Path(name).exists()):
            raise SettingsError(
                f"{name!r} is a path; spell it SLUG=PATH, with a name of your choice, as in"
                f" my-model={name}"
            )
        return Spec(canonical(name), None)
    if not path or not name.strip():
        raise SettingsError(f"{text!r} is not SLUG or SLUG=PATH", "model")
    return custom_spec(name, Path(path))


def custom_spec(name: str, path: Path) -> Spec:
    """A checkpoint at a path, under a name that can stand in a URL.

    Raises:
        SettingsError: the name cannot, or is esm2-demo's.
    """
    official = find(name)
    slug = official.slug if official else name.strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", slug):
        raise SettingsError(
            f"{name!r} cannot be a slug: use letters, digits, '.', '_' and '-', as in my-slug=PATH",
            "model",
        )
    if slug == DEMO_SLUG:
        raise SettingsError(
            f"{DEMO_SLUG} is the checkpoint inside the package; use another slug", "model"
        )
    return Spec(slug, path.expanduser())


def checkpoint_path(spec: Spec, on_fetch: Callable[[str], None]) -> Path:
    """Where the weights of a model are; fetched, and said so, when they are not here.

    What is in the cache already is never changed: that is for `esm2 fetch`.

    Raises:
        HubError: they are not here and could not be fetched, or a file is not the published one.
    """
    if spec.path is not None:
        return spec.path
    if spec.slug == DEMO_SLUG:
        return DEMO_DIRECTORY
    checkpoint = find(spec.slug)
    assert checkpoint is not None, "canonical() returned a slug that is not in the catalog"
    if found := hub.locate(checkpoint):
        hub.refuse_changed(checkpoint, found)
        return found
    on_fetch(f"{spec.slug} is not on this machine: fetching {checkpoint.repo}")
    return hub.fetch(checkpoint, on_fetch, mend=False)


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded model with a batcher in front.

    Attributes:
        decided: what it is and how it runs.
        submit: queue one request; concurrent requests share forward passes.
    """

    decided: Decided
    submit: Callable[..., Future[Outputs]]


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
    path = checkpoint_path(spec, on_fetch)
    engine = _Load(path, spec.slug, device, dtype, pack_tokens)()
    _refuse_pretence(spec, path, engine.decided)
    _say_unused(engine.decided, on_fetch)
    batcher = _batcher([engine.run], engine.decided, Budget(pack_tokens, queue_tokens), nobody)
    try:
        yield Served(engine.decided, batcher.submit)
    finally:
        batcher.close(drain=False)


@dataclass(frozen=True, slots=True)
class _Load:
    """Loads an engine, in this process or in another one: it can be pickled.

    Attributes:
        share: how many engines share the cores of the machine.
    """

    path: Path
    slug: str
    device: str
    dtype: str
    pack_tokens: int
    share: int = 1

    def __call__(self) -> Engine:
        try:
            from esm2.engine.engine import Engine
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "torch", "torch") from error
        return Engine.load(
            self.path,
            self.slug,
            device=self.device,
            dtype=self.dtype,
            pack_tokens=self.pack_tokens,
            share=self.share,
        )


def _refuse_pretence(spec: Spec, path: Path, decided: Decided) -> None:
    """Nothing answers under an official name that can only be a mistake (decision 2)."""
    official = find(spec.slug)
    if official and official.shape != decided.shape:
        raise CheckpointError(
            path, f"has {decided.shape}, but {spec.slug} has {official.shape}; give it another slug"
        )
    if spec.path is None and decided.weights_kind == "custom":
        raise CheckpointError(
            path,
            f"its weights (sha256 {decided.weights_sha256}) are not the published ones of"
            f" {spec.slug}; run `esm2 fetch {spec.slug}`, or serve them under a name of their own",
        )


def _say_unused(decided: Decided, say: Callable[[str], None]) -> None:
    """What is in a checkpoint and left out of its answers, once for each model."""
    if decided.unused:
        head = "" if decided.logits else "; without a language head it gives no logits"
        say(f"{decided.slug}: its checkpoint has tensors that are not used: {decided.unused}{head}")


def _batcher(
    executors: Sequence[Executor], decided: Decided, limits: Budget, watch: Watch
) -> Batcher:
    return Batcher(
        executors,
        partial(budget.cost, shape=decided.shape),
        limits,
        work=partial(budget.work, shape=decided.shape),
        name=decided.slug,
        watch=watch,
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
) -> Iterator[Runtime]:
    """Load every model that the settings name, and esm2-demo, which is always there.

    Each engine runs in a process of its own, `settings.workers` of them for each model.

    Args:
        on_fetch: told each line about what is fetched.
        watch: told of each forward pass and each restart.
        meanwhile: called while the models load.

    Raises:
        UnknownModel, SettingsError, CheckpointError, HubError, MissingExtra.
    """
    specs = [parse_spec(text) for text in settings.model]
    if DEMO_SLUG not in (spec.slug for spec in specs):
        specs.append(Spec(DEMO_SLUG, None))
    for spec in specs:
        if sum(spec.slug == other.slug for other in specs) > 1:
            raise SettingsError(f"model {spec.slug} is named twice", "model")
    with ExitStack() as stack:
        book = _open_book(settings.token_database, stack)
        started = [
            (spec, *_start_workers(stack, spec, settings, on_fetch, watch)) for spec in specs
        ]
        meanwhile()
        batchers: dict[str, Batcher] = {}
        models: list[tuple[Decided, int]] = []
        limits = Budget(settings.pack_tokens, settings.queue_tokens, settings.max_wait_seconds)
        for spec, path, workers in started:
            for worker in workers:
                _refuse_pretence(spec, path, worker.decided)
            decided = workers[0].decided
            _say_unused(decided, on_fetch)
            batcher = _batcher(workers, decided, limits, watch)
            stack.callback(batcher.close, drain=False)
            for worker in workers:
                # Before its batcher: what it computes now is for nobody, and may never end.
                stack.callback(worker.close)
            batchers[spec.slug] = batcher
            models.append((decided, len(workers)))
        # Half of the memory is for forward passes, all of which may happen at once; half for what
        # they gave and what is on its way to callers.
        memory = settings.memory_mb << 20 or budget.free_bytes()
        passes = sum(workers for _, workers in models)
        cache = _open_cache(settings)
        services = {}
        for decided, _ in models:
            batcher = batchers[decided.slug]
            bounded = decided.device == "cpu"  # elsewhere the memory model was not measured
            allowance = Allowance(memory // 2 // passes if bounded else None, settings.max_residues)
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
            for _, _, workers in started:
                for worker in workers:
                    worker.tell()

        yield Runtime(settings, services, memory // 2, batchers, book, cache, tell=tell)


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
    watch: Watch,
) -> tuple[Path, list[Worker]]:
    """Where the weights of a model are, and its workers, which load now; closed with the stack."""
    path = checkpoint_path(spec, on_fetch)
    devices = [name.strip() for name in settings.device.split(",")]
    count = max(settings.workers, len(devices))
    workers = []
    for index in range(count):
        device = devices[index % len(devices)]
        load = _Load(path, spec.slug, device, settings.dtype, settings.pack_tokens, count)
        worker = Worker(load, spec.slug, hung_seconds=settings.hung_seconds, watch=watch)
        stack.callback(worker.close)
        workers.append(worker)
    return path, workers
