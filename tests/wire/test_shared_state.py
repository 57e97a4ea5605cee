"""Two servers, one PostgreSQL with their tokens, one Redis or Valkey with budgets and results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import services
from tests.security.test_tokens import ENCODE, ask, made, token
from tests.wire.server import Server, serving


@dataclass(frozen=True)
class Shared:
    """Two servers, what they share, and a token that both know."""

    both: tuple[Server, Server]
    tokens: services.Service
    memory: services.Service
    secret: str


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with services.postgresql() as tokens, services.redis() as memory:
        secret = made("a lab", database=tokens.url)
        where = ("--token-database", tokens.url, "--limits-storage", memory.url)
        results = ("--cache-mb", "8", "--cache-url", memory.url.removesuffix("/0") + "/1")
        with serving(*where, *results) as one, serving(*where, *results) as other:
            yield Shared((one, other), tokens, memory, secret)
            assert [server.stop()[0] for server in (one, other)] == [0, 0]
        _, listed, _ = token("list", database=tokens.url)
        [used] = (line.split("\t")[7] for line in listed.splitlines() if "\ta lab\t" in line)
        assert used.startswith("2")  # a day, not never: noted when a server ends


def test_a_token_is_good_at_both_servers_and_once_revoked_at_neither(shared):
    secret = made("comes and goes", database=shared.tokens.url)
    for server in shared.both:
        services.until(lambda own=server: ask(own, secret).status == 200, "it is not let in")
    assert token("revoke", "comes and goes", database=shared.tokens.url)[0] == 0
    for server in shared.both:
        services.until(lambda own=server: ask(own, secret).status == 401, "it is still let in")


def test_a_budget_is_one_whichever_server_is_asked(shared):
    secret = made("little", "--residues-per-minute", "100", database=shared.tokens.url)
    for server in shared.both:
        services.until(lambda own=server: ask(own, secret, body=b"{").status == 400, "not known")
    fresh = {"Cache-Control": "no-store"}
    answers = [ask(server, secret, **fresh) for server in shared.both * 2]  # 40 residues each
    assert [answer.status for answer in answers] == [200, 200, 429, 429]


def test_what_one_server_computed_the_other_has_without_computing(shared):
    one, other = shared.both
    body = {"items": [{"sequence": "MKTAYIAKQRQISFVKSHFSRQ"}]}
    before = computed(other, shared)
    fresh, kept = (ask(server, shared.secret, ENCODE, body) for server in (one, other))
    assert [own.headers["X-ESM2-Cached"] for own in (fresh, kept)] == ["0/1", "1/1"]
    assert fresh.body == kept.body
    assert computed(other, shared) == before


def computed(server: Server, shared: Shared) -> str:
    """The line of /metrics that counts the tokens which went through the model."""
    answer = server.request("GET", "/metrics", headers={"Authorization": f"Token {shared.secret}"})
    [line] = (own for own in answer.body.decode().splitlines() if "esm2_tokens_total{" in own)
    return line


def test_both_go_on_when_all_that_they_share_is_gone(shared):
    shared.tokens.stop()
    shared.memory.stop()
    try:
        for server in shared.both:
            assert ask(server, shared.secret).status == 200
            assert ask(server, "a guess").status == 401
    finally:
        shared.tokens.start()
