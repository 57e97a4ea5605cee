"""The servers that wire tests talk to, started once: one open, one with tokens and tight limits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import esm2
from tests.checkpoints import save_fair_esm
from tests.wire.refusals import TOKENS
from tests.wire.server import Server, serving


@pytest.fixture(scope="session")
def models(reference, tmp_path_factory) -> dict[str, Path]:
    """Slug as given to the server -> checkpoint: ours, official in name, without a contact head."""
    headless = tmp_path_factory.mktemp("headless") / "headless.pt"
    return {
        "My-Slug": reference("odd").directory,
        "esm2-8m": reference("8m").directory,
        "headless": save_fair_esm(reference("tiny").model, headless, contacts=False),
    }


@pytest.fixture(scope="session")
def model_flags(models) -> tuple[str, ...]:
    return tuple(f"--model={slug}={path}" for slug, path in models.items())


@pytest.fixture(scope="session")
def guarded_flags(model_flags) -> tuple[str, ...]:
    limits = ("--max-items=3", "--max-residues=300", "--max-body-bytes=4096")
    return (*model_flags, *limits)


@pytest.fixture(scope="session")
def server(model_flags) -> Iterator[Server]:
    """Open, with the limits that a server has by default."""
    yield from _stopped_well(model_flags, "")


@pytest.fixture(scope="session")
def guarded(guarded_flags) -> Iterator[Server]:
    """With tokens, and limits that a test reaches easily."""
    yield from _stopped_well(guarded_flags, TOKENS)


def _stopped_well(flags: tuple[str, ...], tokens: str) -> Iterator[Server]:
    with serving(*flags, tokens=tokens) as server:
        yield server
        status, stderr = server.stop()
    assert status == 0
    assert "Traceback" not in stderr


@pytest.fixture(scope="session")
def direct(models) -> Iterator[Callable[[str], esm2.Model]]:
    """The same models in this process, by slug."""
    paths = {slug.lower(): path for slug, path in models.items()}
    with ExitStack() as stack:

        @functools.cache
        def load(slug: str) -> esm2.Model:
            return stack.enter_context(esm2.load(f"{slug}={paths[slug]}", device="cpu"))

        yield load
