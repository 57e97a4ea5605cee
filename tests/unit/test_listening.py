"""Who is asking, where a proxy says that it asks for somebody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from esm2.cli.listening import Server
from esm2.runtime import Runtime
from esm2.server.metrics import Metrics
from esm2.settings import load


def caller(trusted: list[str], peer: str, forwarded: str) -> str:
    """The address by which an app knows who asks."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    runtime = Runtime(load({"trust_proxy": trusted}), {})
    config = Server(app, runtime, Metrics(), lambda: None).config
    config.load()
    scope = {
        "type": "http",
        "client": (peer, 1),
        "headers": [(b"x-forwarded-for", forwarded.encode())],
    }
    asyncio.run(config.loaded_app(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "known"),
    [
        ([], "127.0.0.1", "10.0.0.9", "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", "10.0.0.9", "10.0.0.9"),
        (["127.0.0.1"], "10.0.0.7", "10.0.0.9", "10.0.0.7"),
        (["10.0.0.0/8"], "10.0.0.7", "6.6.6.6, 192.168.0.3, 10.0.0.8", "192.168.0.3"),
        (["unix"], "unix", "6.6.6.6, 192.168.0.3", "192.168.0.3"),
        (["unix"], "127.0.0.1", "192.168.0.3", "127.0.0.1"),
    ],
)
def test_only_a_proxy_that_was_named_is_believed(trusted, peer, forwarded, known):
    assert caller(trusted, peer, forwarded) == known
