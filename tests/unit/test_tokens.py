"""Tokens in a database, in SQLite and in PostgreSQL alike; the book; the budgets."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from esm2.errors import (
    BeyondBudget,
    RateLimited,
    SettingsError,
    TokensUnavailable,
    Unauthenticated,
)
from esm2.tokens import SCOPES, Caller, hashed, now
from esm2.tokens.book import TokenBook
from esm2.tokens.rates import Rates, _seconds
from esm2.tokens.store import TokenStore
from tests import services


@pytest.fixture(scope="session")
def database():
    with services.postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    """An empty store."""
    if request.param == "sqlite":
        own = TokenStore(f"sqlite:///{tmp_path / 'deep/down/tokens.db'}")
    else:
        own = TokenStore(request.getfixturevalue("database").url)
        with own._open() as connection:
            connection.exec_driver_sql("DELETE FROM esm2_tokens")
    yield own
    own.close()


@pytest.fixture
def book():
    """Follow a store; what is followed ends with the test."""
    books = []

    def follow(store):
        books.append(TokenBook(store))
        return books[-1]

    yield follow
    for own in books:
        own.close()


# --- the store ---------------------------------------------------------------------------------


def test_a_token_is_created_with_all_that_is_said_and_listed(store):
    expires = now() + timedelta(days=3)
    token, secret = store.create("lab", ["score", "encode"], expires, 5000)
    assert re.fullmatch(r"esm2_[A-Za-z0-9_-]{43}", secret)
    assert store.all() == [token]
    assert (token.name, token.scopes, token.residues_per_minute, token.expires) == (
        "lab",
        ("encode", "score"),
        5000,
        expires,
    )
    assert abs(token.created - datetime.now(UTC)) < timedelta(minutes=1)
    assert (token.revoked, token.used) == (None, None)
    assert secret.startswith(token.prefix)
    assert len(token.prefix) == 10


def test_no_two_secrets_are_the_same(store):
    secrets = {store.create(f"token {number}")[1] for number in range(20)}
    assert len(secrets) == 20
    assert [hash_ for hash_, _ in store.hashes()] == [
        hash_ for hash_ in dict(store.hashes()) if hash_ in set(map(hashed, secrets))
    ]


def test_the_secret_is_nowhere_in_the_database(tmp_path):
    path = tmp_path / "tokens.db"
    own = TokenStore(f"sqlite:///{path}")
    _, secret = own.create("lab")
    own.close()
    assert secret.encode() not in path.read_bytes()
    assert secret[11:].encode() not in path.read_bytes()
    assert hashed(secret).encode() in path.read_bytes()


def test_the_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "new" / "tokens.db"
    own = TokenStore(f"sqlite:///{path}")
    own.create("lab")
    own.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_name_is_taken_until_its_token_is_revoked(store):
    first, _ = store.create("lab")
    with pytest.raises(SettingsError, match="a token called 'lab' already"):
        store.create("lab")
    store.revoke("lab")
    second, _ = store.create("lab")
    assert second.id != first.id
    assert [token.state(now())[:7] for token in store.all()] == ["revoked", "good"]


def test_a_token_is_revoked_by_name_or_by_id_once(store):
    one, _ = store.create("one")
    two, _ = store.create("two")
    assert store.revoke("one").id == one.id
    assert store.revoke(str(two.id)).id == two.id
    for gone in ("one", str(two.id), "three", "99999", "9" * 60, ""):
        with pytest.raises(SettingsError, match="no token that is not revoked"):
            store.revoke(gone)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_a_name_is_something_that_can_be_printed(store, name):
    with pytest.raises(SettingsError, match="name of 1 to 200"):
        store.create(name)


def test_a_scope_is_one_of_those_there_are(store):
    with pytest.raises(SettingsError, match="no scope is called 'train'; there are encode, "):
        store.create("lab", ["encode", "train"])
    store.create("lab", SCOPES)


def test_processes_that_make_the_table_at_once_do_not_disturb_each_other(tmp_path):
    url = f"sqlite:///{tmp_path / 'tokens.db'}"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: TokenStore(url).create(f"token {n}")[0].id, range(8)))
    assert sorted(made) == list(range(1, 9))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a URL such as"),
        ("mysql://a:s3cret@host/db", "use sqlite or postgresql"),
        ("oracle+no://a:s3cret@host", "oracle"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_showing_it(url, words):
    with pytest.raises(SettingsError, match=words) as caught:
        TokenStore(url)
    assert "s3cret" not in str(caught.value)


def test_a_database_out_of_reach_is_told_without_its_password():
    url = f"postgresql://me:s3cret@127.0.0.1:{services.free_port()}/db"
    with pytest.raises(TokensUnavailable, match="cannot be reached") as caught:
        TokenStore(url).all()
    assert "s3cret" not in str(caught.value)


def test_postgresql_that_falls_silent_is_asked_anew(database, monkeypatch):
    """As behind a firewall that forgets connections: what was sent arrives, and nothing returns."""
    monkeypatch.setattr("esm2.tokens.store._PATIENCE", 1)
    store = TokenStore(database.url)
    store.create("silent", [])
    with store._open() as connection:
        (process,) = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
    os.kill(process, signal.SIGSTOP)
    try:
        assert "silent" in [token.name for token in store.all()]
        with store._open() as connection:
            assert connection.exec_driver_sql("SELECT pg_backend_pid()").one() != (process,)
    finally:
        os.kill(process, signal.SIGCONT)
        store.close()


# --- the book ----------------------------------------------------------------------------------


def test_the_book_knows_who_may_come_in(store, book):
    token, secret = store.create("lab", ["encode"], None, 70)
    caller = book(store).caller(secret)
    assert caller == Caller(f"token {token.id}", "lab", frozenset(["encode"]), 70)


def test_what_is_created_or_revoked_elsewhere_counts_without_a_restart(store, book):
    following = book(store)
    _, secret = store.create("lab")
    services.until(lambda: lets_in(following, secret), "a new token is not let in")
    store.revoke("lab")
    services.until(lambda: not lets_in(following, secret), "a revoked token is let in")
    with pytest.raises(Unauthenticated, match=r"This token was revoked on \d{4}-\d\d-\d\d"):
        following.caller(secret)


def lets_in(book, secret):
    try:
        book.caller(secret)
    except Unauthenticated:
        return False
    return True


def test_a_token_that_expired_is_told_so(store, book):
    _, secret = store.create("lab", (), now() - timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match="This token was expired on"):
        book(store).caller(secret)


def test_a_guess_is_told_nothing(store, book):
    _, secret = store.create("lab")
    for guess in ("", "esm2_", secret[:-1], secret + "x", secret.swapcase()):
        with pytest.raises(Unauthenticated, match="Invalid token"):
            book(store).caller(guess)


def test_when_a_token_was_used_is_noted(store):
    _, secret = store.create("lab")
    store.create("unused")
    following = TokenBook(TokenStore(str(store._engine.url.render_as_string(False))))
    following.caller(secret)
    following.close()
    used = {own.name: own.used for own in store.all()}
    assert used["unused"] is None
    assert abs(used["lab"] - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_database_that_is_gone_for_a_moment_is_not_noticed(tmp_path, book, caplog, monkeypatch):
    with services.postgresql() as database:
        store = TokenStore(database.url)
        _, secret = store.create("lab")
        following = book(store)
        with caplog.at_level(logging.WARNING):
            database.stop()
            services.until(lambda: "cannot be reached" in caplog.text, "nobody noticed")
            assert lets_in(following, secret)
            monkeypatch.setattr("esm2.tokens.book._GRACE", 0.0)
            with pytest.raises(TokensUnavailable, match="out of reach"):
                following.caller(secret)
            monkeypatch.undo()
            database.start()
            services.until(lambda: "is back" in caplog.text, "it did not come back")
        assert lets_in(following, secret)
        following.close()


def test_a_database_that_may_only_be_read_is_told_once_and_lets_in(
    tmp_path, book, caplog, monkeypatch
):
    file = tmp_path / "tokens.db"
    store = TokenStore(f"sqlite:///{file}")
    _, secret = store.create("lab")
    store.close()
    monkeypatch.setattr("esm2.tokens.book._NOTED", 0.0)
    following = book(TokenStore(f"sqlite:///file:{file}?mode=ro&uri=true"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            following.caller(secret)
            services.until(lambda: not following._used, "it was not noted")
        following.close()
    assert caplog.text.count("last used cannot be noted: ") == 1
    assert "out of reach" not in caplog.text
    assert [own.name for own in tmp_path.iterdir()] == ["tokens.db"]


# --- budgets -----------------------------------------------------------------------------------

LAB = Caller("token 1", "lab", None, 100)


@pytest.fixture
def memory():
    return Rates("memory://")


def charged(rates, *charges, caller=LAB):
    async def ask():
        for residues in charges:
            await rates.charge(caller, residues)

    asyncio.run(ask())


def test_a_budget_is_used_up_and_says_when_to_come_back(memory):
    charged(memory, 60, 40)
    with pytest.raises(RateLimited) as caught:
        charged(memory, 1)
    assert caught.value.budget == 100
    assert 1 <= caught.value.retry_after <= 61
    charged(memory, 100, caller=Caller("token 2", "lab", None, 100))


@pytest.mark.parametrize("into", [0.0, 12.5, 40.0, 59.5])  # seconds into a minute of the clock
def test_who_comes_back_when_told_is_let_in_and_one_second_sooner_is_not(memory, monkeypatch, into):
    told = 1_800_000_000.0 + into
    monkeypatch.setattr("time.time", lambda: told)
    charged(memory, 80)
    with pytest.raises(RateLimited) as caught:
        charged(memory, 50)
    back = told + caught.value.retry_after
    told = back - 2  # one for the rounding up
    with pytest.raises(RateLimited):
        charged(memory, 50)
    told = back
    charged(memory, 50)


def test_what_is_refused_is_not_counted(memory):
    charged(memory, 90)
    for _ in range(5):
        with pytest.raises(RateLimited):
            charged(memory, 20)
    charged(memory, 10)


def test_what_is_given_back_can_be_asked_for_again(memory):
    charged(memory, 100)
    asyncio.run(memory.give_back(LAB, 30))
    charged(memory, 30)
    with pytest.raises(RateLimited):
        charged(memory, 1)


def test_what_could_never_pass_is_told_so(memory):
    with pytest.raises(BeyondBudget, match="101 residues and its token may ask for 100"):
        charged(memory, 101)


def test_without_a_budget_nothing_is_counted(memory):
    charged(memory, *[10**9] * 5, caller=Caller("token 3", "free"))


@pytest.mark.parametrize(
    ("window", "room", "seconds"),
    [
        ((60, 30, 20, 30), 40, 10),  # 30 + 20 now; 20 + 20 ten seconds later
        ((0, 60, 50, 40), 25, 40 + 30),  # half of this window has to go by in the next one
        ((10, 60, 0, 60), 0, 60),
    ],
)
def test_the_time_to_come_back_is_when_the_window_has_room(window, room, seconds):
    assert _seconds(*map(float, window), room) == pytest.approx(seconds)


@pytest.mark.parametrize("url", ["", "file:///x", "redis", "http://x"])
def test_a_storage_that_cannot_be_is_refused(url):
    with pytest.raises(SettingsError, match="memory:// or redis://"):
        Rates(url)


def test_several_servers_share_a_budget_in_redis_and_count_for_themselves_without(caplog):
    with services.redis() as running:

        async def ask():
            one, other = Rates(running.url), Rates(running.url)
            await one.charge(LAB, 60)
            with pytest.raises(RateLimited):
                await other.charge(LAB, 60)
            await other.charge(LAB, 40)
            running.stop()
            await one.charge(LAB, 100)
            with pytest.raises(RateLimited):
                await one.charge(LAB, 10)
            assert caplog.text.count("budgets are counted here") == 1
            running.start()  # empty now
            one._not_before = 1e-9  # as if the pause were over
            await one.charge(LAB, 100)
            assert caplog.text.count("budgets are counted there") == 1
            await one.close()
            await other.close()

        with caplog.at_level(logging.WARNING):
            asyncio.run(ask())


def test_the_default_file_is_below_home():
    from esm2.cli.token import _own

    assert _own() == f"sqlite:///{Path.home()}/.local/share/esm2/tokens.db"


def test_nothing_is_listed_where_nothing_can_be_read():
    code = "import sys; sys.modules['sqlalchemy'] = None; import esm2.cli; esm2.cli.main()"
    command = [sys.executable, "-c", code, "token", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "this needs sqlalchemy: pip install 'sqlalchemy" in done.stderr
