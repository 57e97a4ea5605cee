"""What the SDKs put on the wire: the numbers of `test_numbers.py` came by these ways."""

from __future__ import annotations

import pytest

from tests.clients import roster
from tests.clients.cases import DEFAULTS, FILE, LISTS, MANY, TOKEN

ONE_LINERS = [client for client in roster.SDKS if client.program == "one_liners.py"]
CLASSES = [client for client in roster.SDKS if client.program == "classes.py"]
COMPRESSING = [client for client in roster.SDKS if client is not roster.CLASSES_0_1]


def named(clients):
    return pytest.mark.parametrize("client", clients, ids=lambda client: client.name)


@named(ONE_LINERS)
def test_batches_are_as_large_as_the_schema_allows(session, client):
    posts = session(client).posts(MANY)
    assert sorted(len(post.json()["items"]) for post in posts) == [4, 8, 8]
    asked = {heard.path for heard in session(client).tap.heard() if heard.method == "GET"}
    assert "/api/v3/schema/esm2-8m/encode/" in asked


@named(ONE_LINERS)
def test_lists_of_lists_with_a_rate_limit_need_no_schema(session, client):
    posts = session(client).posts(LISTS)
    assert sorted(len(post.json()["items"]) for post in posts) == [4, 8, 8]
    first = [heard.method for heard in session(client).tap.heard()[:1]]
    assert first == ["POST"]


@named(CLASSES)
def test_classes_send_one_item_a_request(session, client):
    posts = session(client).posts(MANY)
    assert [len(post.json()["items"]) for post in posts] == [1] * 20


@named(COMPRESSING)
def test_a_body_over_256_bytes_is_compressed(session, client):
    [post] = session(client).posts(DEFAULTS)
    assert post.headers["Content-Encoding"] == "gzip"
    assert len(post.body) < 256


@named(roster.SDKS)
def test_the_token_of_a_login_is_sent_as_a_cookie(session, client):
    [post] = session(client).posts(FILE)
    assert post.headers["Cookie"] == f"access={TOKEN};refresh=unused"
    assert "Authorization" not in post.headers


@named(roster.SDKS)
def test_calls_go_to_the_generation_that_the_client_speaks(session, client):
    slash = "" if client.dialect == "v1" else "/"
    paths = {post.path for post in session(client).posts(DEFAULTS)}
    assert paths == {f"/api/{client.dialect}/esm2-8m/encode{slash}"}
