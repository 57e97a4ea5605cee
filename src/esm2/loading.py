"""What a person names -> where its weights are -> an engine of it, in whatever process.

SLUG[=PATH] ──parse_spec──> Spec ──Load()──> Engine       here, in a worker, on another machine
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from esm2 import hub
from esm2.catalog import DEMO_SLUG, canonical, find
from esm2.errors import CheckpointError, MissingExtra, SettingsError
from esm2.types import Decided

if TYPE_CHECKING:
    from esm2.engine.engine import Engine

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

    def __str__(self) -> str:
        return self.slug if self.path is None else f"{self.slug}={self.path}"


def parse_spec(text: str) -> Spec:
    """Read `SLUG` or `SLUG=PATH`.

    Raises:
        UnknownModel: a slug without a path that nobody knows.
        CheckpointError: a path alone, where nothing is.
        SettingsError: not of that form, a path alone, or esm2-demo with another checkpoint.
    """
    if _is_path(text):
        if not _exists(text):
            raise CheckpointError(text, "no such file or directory")
        raise SettingsError(
            f"{text!r} is a path; spell it SLUG=PATH, with a name of your choice, as in"
            f" my-model={text}"
        )
    name, given, path = text.partition("=")
    if not given:
        return Spec(canonical(name), None)
    if not path or not name.strip():
        raise SettingsError(f"{text!r} is not SLUG or SLUG=PATH", "model")
    return custom_spec(name, Path(path))


def parse_specs(texts: Iterable[str], *, demo: bool = True) -> list[Spec]:
    """The models of a server.

    Args:
        demo: whether esm2-demo is there also if it is not named.

    Raises:
        UnknownModel, SettingsError: as `parse_spec`, or one is named twice.
    """
    specs = [parse_spec(text) for text in texts]
    if demo and DEMO_SLUG not in (spec.slug for spec in specs):
        specs.append(Spec(DEMO_SLUG, None))
    for spec in specs:
        if sum(spec.slug == other.slug for other in specs) > 1:
            raise SettingsError(f"model {spec.slug} is named twice", "model")
    return specs


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
    return Spec(slug, _expanded(path))


def spec(name: str | Path) -> Spec:
    """`SLUG`, `SLUG=PATH`, or a bare path, which answers under its own name.

    Raises:
        TypeError: it is neither a str nor a path.
        UnknownModel, SettingsError: as `parse_spec`.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(
            f"name is {type(name).__name__}; pass the name of a model, such as 'esm2-650m', or the"
            " path of a checkpoint"
        )
    if isinstance(name, str) and not _is_path(name):
        return parse_spec(name)
    path = _expanded(name).absolute()
    own = path.name if path.is_dir() else path.stem
    return custom_spec(re.sub("[^a-z0-9._-]+", "-", own.lower()).strip("-._") or "model", path)


def _is_path(name: str) -> bool:
    """Whether a name can only be a path; one of a known model, or of nothing at all, is none."""
    if not name.strip() or name.strip().lower() == DEMO_SLUG or find(name) is not None:
        return False
    return name.startswith(("/", ".", "~")) or _exists(name)


def _exists(path: str) -> bool:
    # pathlib raises for what can be no path at all, such as a whole protein.
    return os.path.exists(_expanded(path))  # noqa: PTH110


def _expanded(path: str | os.PathLike[str]) -> Path:
    """With the home directory for ~; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def checkpoint_path(spec: Spec, on_fetch: Callable[[str], None]) -> Path:
    """Where the weights of a model are; fetched, and said so, when they are not here.

    What is in the cache already is never changed: that is for `esm2 fetch`.

    Raises:
        HubError: they are not here and could not be fetched, or a file is not the published one.
        MissingExtra: nothing here could compute with what would be fetched.
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
    if find_spec("torch") is None:
        raise MissingExtra("torch", "torch")
    on_fetch(f"{spec.slug} is not on this machine: fetching {checkpoint.repo}")
    return hub.fetch(checkpoint, on_fetch, mend=False)


@dataclass(frozen=True, slots=True)
class Load:
    """Loads an engine, in this process or in another one: it can be pickled.

    Attributes:
        device, dtype: as in settings.
        pack_tokens: the budget of a forward pass.
        path: of its weights; None to look for them, and fetch them, where it is called.
        share: how many engines share the cores of the machine.
    """

    spec: Spec
    device: str
    dtype: str
    pack_tokens: int
    path: Path | None = None
    share: int = 1

    def __call__(self) -> Engine:
        """The engine.

        Raises:
            SettingsError, CheckpointError, HubError, MissingExtra.
        """
        try:
            from esm2.engine.engine import Engine
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "torch", "torch") from error
        path = self.path or checkpoint_path(self.spec, _say)
        engine = Engine.load(
            path,
            self.spec.slug,
            device=self.device,
            dtype=self.dtype,
            pack_tokens=self.pack_tokens,
            share=self.share,
        )
        _refuse_pretence(self.spec, path, engine.decided)
        return engine


def _say(text: str) -> None:
    print(f"esm2: {text}", file=sys.stderr, flush=True)


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


def say_unused(decided: Decided, say: Callable[[str], None]) -> None:
    """What is in a checkpoint and left out of its answers, once for each model."""
    if decided.unused:
        head = "" if decided.logits else "; without a language head it gives no logits"
        say(f"{decided.slug}: its checkpoint has tensors that are not used: {decided.unused}{head}")
