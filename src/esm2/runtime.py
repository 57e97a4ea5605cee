"""The composition root: settings -> engines -> batchers -> services.

The only module that knows the engine and the doors. Everything is built here, once, and closed
here; nothing is global.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from esm2 import hub
from esm2.batcher import Batcher
from esm2.catalog import DEMO_SLUG, canonical, find
from esm2.errors import CheckpointError, MissingExtra, ModelNotServed, SettingsError
from esm2.service import Service
from esm2.settings import Settings
from esm2.types import Decided, Outputs

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
        SettingsError: not of that form, or esm2-demo with another checkpoint.
    """
    name, given, path = text.partition("=")
    if not given:
        return Spec(canonical(name), None)
    if not path or not name.strip():
        raise SettingsError(f"{text!r} is not SLUG or SLUG=PATH")
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
            f"{name!r} cannot be a slug: use letters, digits, '.', '_' and '-', as in my-slug=PATH"
        )
    if slug == DEMO_SLUG:
        raise SettingsError(f"{DEMO_SLUG} is the checkpoint inside the package; use another slug")
    return Spec(slug, path.expanduser())


def checkpoint_path(spec: Spec, on_fetch: Callable[[str], None]) -> Path:
    """Where the weights of a model are; fetched, and said so, when they are not here.

    Raises:
        HubError, WeightsMissing: they are not here and could not be fetched.
    """
    if spec.path is not None:
        return spec.path
    if spec.slug == DEMO_SLUG:
        return DEMO_DIRECTORY
    checkpoint = find(spec.slug)
    assert checkpoint is not None, "canonical() returned a slug that is not in the catalog"
    if found := hub.locate(checkpoint):
        return found
    on_fetch(f"{spec.slug} is not on this machine: fetching {checkpoint.repo}")
    return hub.fetch(checkpoint, on_fetch)


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
        on_fetch: told each line about what is fetched.

    Raises:
        UnknownModel, SettingsError, CheckpointError, HubError, MissingExtra.
    """
    try:
        from esm2.engine.engine import Engine
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    spec = parse_spec(model) if isinstance(model, str) else model
    path = checkpoint_path(spec, on_fetch)
    engine = Engine.load(path, spec.slug, device=device, dtype=dtype, pack_tokens=pack_tokens)
    if spec.path is None and engine.decided.weights_kind == "custom":
        raise CheckpointError(
            path,
            f"its weights (sha256 {engine.decided.weights_sha256}) are not the published ones of"
            f" {spec.slug}; run `esm2 fetch {spec.slug}`, or serve them under a name of their own",
        )
    batcher = Batcher(
        engine.run,
        engine.cost,
        pack_tokens=pack_tokens,
        queue_tokens=queue_tokens,
        name=spec.slug,
    )
    try:
        yield Served(engine.decided, batcher.submit)
    finally:
        batcher.close(drain=False)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a server needs: its settings and a service for each model.

    Attributes:
        services: slug -> service, in the order in which they were named.
    """

    settings: Settings
    services: dict[str, Service]

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
def open_runtime(settings: Settings, on_fetch: Callable[[str], None]) -> Iterator[Runtime]:
    """Load every model that the settings name, and esm2-demo, which is always there."""
    specs = [parse_spec(text) for text in settings.model]
    if DEMO_SLUG not in (spec.slug for spec in specs):
        specs.append(Spec(DEMO_SLUG, None))
    services: dict[str, Service] = {}
    with ExitStack() as stack:
        for spec in specs:
            if spec.slug in services:
                raise SettingsError(f"model {spec.slug} is named twice")
            served = stack.enter_context(
                open_model(
                    spec,
                    device=settings.device,
                    dtype=settings.dtype,
                    pack_tokens=settings.pack_tokens,
                    queue_tokens=settings.queue_tokens,
                    on_fetch=on_fetch,
                )
            )
            services[spec.slug] = Service(served.decided, served.submit)
        yield Runtime(settings, services)
