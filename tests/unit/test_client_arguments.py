"""What a client, its patience and its address may be made of; and what is said of no answer."""

from __future__ import annotations

import math

import httpx2
import numpy as np
import pytest

from esm2.client import AsyncClient, Client, Retry
from esm2.client.trouble import unreachable

NOWHERE = "http://127.0.0.1:9"  # nothing is sent there


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"url": None}, TypeError, "url is NoneType; pass one str, like 'http://"),
        ({"url": 3}, TypeError, "url is int"),
        ({"url": b"http://a"}, TypeError, "url is bytes"),
        ({"token": b"secret"}, TypeError, "token is bytes; pass it as one str$"),
        ({"model": 3}, TypeError, "model is int; pass its name as one str"),
        ({"timeout": "3"}, TypeError, "timeout is str; pass a number of seconds"),
        ({"timeout": None}, TypeError, "timeout is NoneType"),
        ({"timeout": True}, TypeError, "timeout is bool"),
        ({"timeout": -1}, ValueError, "timeout is -1; pass 0 seconds or more"),
        ({"timeout": math.nan}, ValueError, "timeout is nan"),
        ({"timeout": 0}, ValueError, "timeout is 0; give the server some seconds"),
        ({"connections": 0}, ValueError, "connections is 0; at least one is needed"),
        ({"connections": -1}, ValueError, "connections is -1"),
        ({"connections": 1.5}, TypeError, "connections is float; pass a whole number"),
        ({"retry": 3}, TypeError, r"retry is int; pass a Retry, as Retry\(attempts=3\)"),
    ],
)
def test_what_no_client_can_be_made_of_is_told_by_its_name(kind, given, error, told):
    with pytest.raises(error, match=f"^{told}"):
        kind(**{"url": NOWHERE} | given)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"attempts": 0}, ValueError, "attempts is 0; at least one is needed"),
        ({"attempts_at_first": -1}, ValueError, "attempts_at_first is -1"),
        ({"attempts": 2.0}, TypeError, "attempts is float; pass a whole number"),
        ({"total": -1}, ValueError, "total is -1; pass 0 seconds or more"),
        ({"first": "1"}, TypeError, "first is str; pass a number of seconds"),
        ({"longest": math.nan}, ValueError, "longest is nan"),
    ],
)
def test_what_no_patience_can_be_made_of_is_told_by_its_name(given, error, told):
    with pytest.raises(error, match=f"^{told}"):
        Retry(**given)


def test_numbers_may_be_numpys_and_a_time_may_have_no_end():
    retry = Retry(attempts=np.int64(2), total=np.float32(1), first=0)
    Client(NOWHERE, timeout=np.int64(3), connections=np.int64(2), retry=retry).close()
    Client(NOWHERE, timeout=math.inf).close()


@pytest.mark.parametrize(
    ("url", "error", "answered", "told"),
    [
        ("https://a", httpx2.ConnectError("[SSL: WRONG_VERSION_NUMBER] x"), False, "try http://"),
        ("https://a", httpx2.ConnectError("VERIFY_FAILED: not valid for 'a'"), False, "use a name"),
        ("http://a", httpx2.ReadError(""), False, "was lost; if it speaks TLS, write https://"),
        ("http://a", httpx2.RemoteProtocolError("Gone."), False, "gone; if it speaks TLS"),
        ("http://a", httpx2.ReadError(""), True, "was lost; is `esm2 serve` running there?"),
        ("https://a", httpx2.ReadError(""), False, "was lost; is `esm2 serve` running there?"),
        ("http://a", httpx2.ReadTimeout(""), False, "silent for 3 s; raise timeout="),
        ("http://a", httpx2.ConnectTimeout(""), False, "within 10 s; is `esm2 serve`"),
        ("http://a", httpx2.ConnectError("Name unknown."), False, "name unknown; is `esm2 serve`"),
    ],
)
def test_where_no_answer_comes_the_likeliest_reason_is_told(url, error, answered, told):
    assert told in str(unreachable(url, error, 3.0, answered=answered))
