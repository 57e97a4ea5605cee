"""Tokens of a database at a real server: made and revoked by the command line while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from esm2.catalog import DEMO_SLUG
from tests import services
from tests.wire.server import PATIENCE, environment, not_starting, serving

ESM2 = Path(sys.executable).with_name("esm2")
ENCODE = f"/api/v2/{DEMO_SLUG}/encode/"
BODY = {"items": [{"sequence": "M" * 40}]}


def token(*words, database):
    done = subprocess.run(
        [ESM2, "token", *words, "--database", database],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def made(*words, database):
    status, stdout, stderr = token("create", *words, database=database)
    assert status == 0, stderr
    assert stdout.strip() not in stderr
    return stdout.strip()


def ask(server, secret, path=ENCODE, body=BODY, **headers):
    return server.post(path, body, {"Authorization": f"Token {secret}", **headers})


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('tokens') / 'tokens.db'}"


@pytest.fixture(scope="module")
def server(database):
    flags = ("--token-database", database, "--memory-mb", "64", "--cache-mb", "4")
    with serving(*flags, tokens="of-the-setting") as running:
        yield running
        status, stderr = running.stop()
    assert status == 0
    assert "esm2_" not in stderr.replace("esm2_tokens", "")


def test_a_token_lets_in_when_it_is_made_and_no_longer_when_it_is_revoked(server, database):
    secret = made("a lab", database=database)
    services.until(lambda: ask(server, secret).status == 200, "a new token is not let in")
    assert token("revoke", "a lab", database=database)[0] == 0
    services.until(lambda: ask(server, secret).status == 401, "a revoked token is let in")
    refused = ask(server, secret)
    assert refused.json()["code"] == "auth.unauthenticated"
    assert "revoked" in refused.json()["error"]
    assert secret not in refused.body.decode()


def test_tokens_of_the_setting_go_on_working_beside_the_database(server):
    assert ask(server, "of-the-setting").status == 200
    assert ask(server, "of-the-settinG").status == 401


def test_a_token_is_good_for_its_scopes_only(server, database):
    secret = made("predicts", "--scope", "predict", database=database)
    services.until(lambda: ask(server, secret).status == 403, "it is not known")
    refused = ask(server, secret)
    assert refused.json()["code"] == "auth.forbidden"
    assert "good for predict and not for encode" in refused.json()["error"]
    assert refused.json()["detail"] == refused.json()["error"]
    allowed = {"items": [{"sequence": "MK<mask>T"}]}
    assert ask(server, secret, f"/api/v3/{DEMO_SLUG}/predict", allowed).status == 200


def test_a_budget_is_of_the_token_whatever_the_caller_says_of_where_it_comes_from(server, database):
    secret = made("small", "--residues-per-minute", "100", database=database)
    services.until(lambda: ask(server, secret, body=b"{").status == 400, "it is not known")
    fresh = {"Cache-Control": "no-store"}
    answers = [ask(server, secret, **fresh, **{"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    refused = answers[-1]
    assert refused.json()["code"] == "auth.rate_limited"
    assert "budget of 100 residues a minute" in refused.json()["error"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    never = ask(server, secret, body={"items": [{"sequence": "M" * 101}]})
    assert (never.status, never.json()["code"]) == (400, "request.beyond_budget")
    other = made("other", database=database)
    services.until(lambda: ask(server, other).status == 200, "another token is refused as well")


def test_what_is_refused_or_known_is_given_back(server, database):
    """A reply too large, a whole result of the cache: nothing was computed."""
    secret = made("thrifty", "--residues-per-minute", "5700", database=database)
    services.until(lambda: ask(server, secret, body=b"{").status == 400, "it is not known")
    item = {"sequence": "MKTAYIAKQR" * 100}
    large = {"items": [item] * 8, "params": {"include": ["contacts"]}}
    refused = ask(server, secret, body=large)
    assert refused.json()["code"] == "request.reply_too_large", refused.body[:300]
    item = {"sequence": "MKTAYIAKQR" * 190}
    statuses = [ask(server, secret, body={"items": [item]}).status for _ in range(4)]
    assert statuses == [200] * 4  # 1,900 residues, and three times the same answer
    both = [{"sequence": "A" * 1900}, {"sequence": "G" * 1900}]
    assert ask(server, secret, body={"items": both}).status == 200
    assert ask(server, secret).json()["code"] == "auth.rate_limited"


def test_the_list_shows_what_there_is_and_no_secret(database):
    secret = made("listed", "--expires", "2099-01-31", "--scope", "encode,score", database=database)
    _, listed, _ = token("list", database=database)
    head, *rows = (line.split("\t") for line in listed.splitlines())
    [row] = (dict(zip(head, row, strict=True)) for row in rows if row[1] == "listed")
    assert row["begins"] == secret[:10]
    assert (row["scopes"], row["expires"], row["state"]) == ("encode,score", "2099-02-01", "good")
    assert secret[:12] not in listed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "x", "--scope", "train"), "no scope is called 'train'"),
        (("create", "x", "--expires", "soon"), "neither days, as 90d, nor a day"),
        (("create", "x", "--expires", "0d"), "--expires 0d is over"),
        (("create", "x", "--expires", "2020-01-31"), "--expires 2020-01-31 is over"),
        (("revoke", "nobody"), "no token that is not revoked"),
    ],
)
def test_what_cannot_be_is_one_sentence(database, words, said):
    status, stdout, stderr = token(*words, database=database)
    assert (status, stdout) == (1, "")
    assert said in stderr
    assert len(stderr.splitlines()) == 1


def test_a_password_is_not_taken_from_a_flag():
    refused = not_starting("--token-database", "postgresql://me:s3cret@localhost/db")
    assert refused.returncode == 1
    assert "set ESM2_TOKEN_DATABASE instead" in refused.stderr
    assert "s3cret" not in refused.stderr


def test_a_server_does_not_start_without_its_database():
    url = f"postgresql://me@127.0.0.1:{services.free_port()}/db"
    refused = not_starting("--port", "0", "--token-database", url)
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert line.endswith("[auth.unavailable]")
