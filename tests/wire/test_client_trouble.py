"""`esm2.client` and servers in trouble: busy, stopping, cut off, slow, not ours, or not there."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import numpy as np
import pytest

from esm2.client import AsyncClient, Client, Retry
from esm2.errors import (
    Esm2Error,
    InvalidRequest,
    Overloaded,
    Refused,
    ServerUnreachable,
    ShuttingDown,
    Unauthenticated,
    UnexpectedReply,
)
from tests.wire.scripted import (
    BUSY,
    DIM,
    HUNG_UP,
    INFO,
    LIMITS,
    STOPPING,
    Answer,
    means,
    npz,
    said,
    scripted,
)

HTML = Answer(200, b"<html>It works!</html>", {"Content-Type": "text/html"})


def of_a_proxy(status):
    return Answer(status, b"<html>nginx</html>", {"Content-Type": "text/html"})


#: Seconds until a thread of a test that waits for another gives up.
PATIENCE = 30


class Waits(list):
    """Waiting that takes no time, and remembers how long it should have been."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture
def patient(waits):
    """Pauses of exactly 1, 2, 4, 8, 8 ... seconds, at most six attempts and a minute."""
    return Retry(attempts=6, total=60, first=1, longest=8, wait=waits, chance=lambda: 1.0)


def first(*answers, then=means):
    """These answers to the first requests, and then the right ones."""
    return lambda number, request: answers[number] if number < len(answers) else then(request)


def always(answer):
    return lambda number, request: answer


def cut(request):
    """The right answer, of which the last byte never comes."""
    whole = means(request)
    return Answer(200, whole.body[:-1], whole.headers, promised=1)


def embed(server, retry, sequences=("MKT",), **options):
    with Client(server.url, retry=retry, **options) as client:
        return client.embed(list(sequences))


def expected(sequences):
    return np.array([np.full(DIM, len(sequence)) for sequence in sequences], np.float32)


# --- asked again -------------------------------------------------------------------------------


def test_a_busy_server_is_asked_again_with_longer_and_longer_pauses(patient, waits, caplog):
    with scripted(first(BUSY, STOPPING, BUSY, STOPPING, BUSY)) as server:
        np.testing.assert_array_equal(embed(server, patient), expected(["MKT"]))
        assert caplog.messages == [f"{server.url}: status 429; asking again in 1.0 s, and so on"]
        bodies = {request.body for request in server.asked}
        assert (len(server.asked), len(bodies)) == (6, 1)
    assert waits == [1, 2, 4, 8, 8]


@pytest.mark.parametrize(
    ("answer", "error"), [(BUSY, Overloaded), (STOPPING, ShuttingDown)], ids=["429", "503"]
)
def test_in_the_end_the_error_is_of_the_class_that_the_server_raised(patient, answer, error):
    with scripted(always(answer)) as server:
        with pytest.raises(error) as caught:
            embed(server, patient)
        assert len(server.asked) == patient.attempts
    assert str(caught.value) in answer.body.decode()
    assert caught.value.code == error.code


def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(patient, waits):
    busy = said(429, {"error": "full", "code": "service.overloaded"}, retry_after="7")
    with scripted(first(busy, busy)) as server:
        embed(server, patient)
    assert waits == [8, 8]  # those 7 seconds, and one by chance


def test_it_may_say_so_as_a_date(patient, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    busy = said(503, {"error": "full", "code": "service.overloaded"}, retry_after=date)
    with scripted(first(busy)) as server:
        embed(server, patient)
    [waited] = waits
    assert 10 < waited <= 41


def test_a_server_that_asks_for_more_patience_than_there_is_ends_it_at_once(patient, waits):
    busy = said(429, {"error": "full", "code": "service.overloaded"}, retry_after="3600")
    with scripted(always(busy)) as server:
        with pytest.raises(Overloaded, match="full"):
            embed(server, patient)
        assert len(server.asked) == 1
    assert waits == []


@pytest.mark.parametrize("trouble", [HUNG_UP, cut], ids=["hung up", "cut short"])
def test_a_lost_connection_is_made_again(patient, waits, trouble):
    def answer(number, request):
        lost = trouble if isinstance(trouble, Answer) else trouble(request)
        return lost if number < 2 else means(request)

    with scripted(answer) as server:
        np.testing.assert_array_equal(embed(server, patient), expected(["MKT"]))
    assert waits == [1, 2]


@pytest.mark.parametrize("trouble", [HUNG_UP, cut], ids=["hung up", "cut short"])
def test_a_connection_that_is_always_lost_is_told_without_the_inside_of_a_library(patient, trouble):
    def answer(_, request):
        return trouble if isinstance(trouble, Answer) else trouble(request)

    with scripted(answer) as server:
        with pytest.raises(ServerUnreachable, match="esm2 serve") as caught:
            embed(server, patient)
        assert len(server.asked) == patient.attempts
    assert server.url in str(caught.value)
    assert isinstance(caught.value.__cause__, httpx2.HTTPError)


def test_where_nothing_listens_that_is_said_after_few_attempts(patient, waits):
    with scripted(always(BUSY)) as server:
        gone = server.url
    with pytest.raises(ServerUnreachable, match=gone) as caught, Client(gone, retry=patient) as own:
        own.embed(["MKT"])
    assert caught.value.url == gone
    assert waits == [1, 2]


def test_a_proxy_with_nothing_behind_it_is_asked_again_like_a_lost_connection(patient, waits):
    with scripted(first(*[of_a_proxy(502)] * 4)) as server:
        np.testing.assert_array_equal(embed(server, patient), expected(["MKT"]))
    assert waits == [1, 2, 4, 8]


def test_a_proxy_that_never_had_anything_behind_it_is_given_up_after_few_attempts(patient, waits):
    with scripted(first()) as server:
        server.info = of_a_proxy(502)
        with pytest.raises(UnexpectedReply, match="nothing answers behind it"):
            embed(server, patient)
    assert waits == [1, 2]


def test_a_server_that_was_there_is_waited_for_longer(patient, waits):
    def answer(_, request):
        own = means(request)
        return Answer(200, own.body, own.headers | {"Connection": "close"})

    with scripted(answer) as server:
        client = Client(server.url, retry=patient)
        client.embed(["MKT"])
    with client, pytest.raises(ServerUnreachable):
        client.embed(["MKT"])
    assert len(waits) == patient.attempts - 1


# --- asked once --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "request.invalid_sequence", Esm2Error),
        (401, "auth.unauthenticated", Unauthenticated),
        (404, "http.not_found", Refused),
        (413, "request.body_too_large", Esm2Error),
        (500, "engine.failed", Esm2Error),
        (500, "bug", Refused),
        (504, "of.tomorrow", Refused),
    ],
)
def test_any_other_refusal_is_final(patient, waits, status, code, error):
    with scripted(always(said(status, {"error": "no, since", "code": code}))) as server:
        with pytest.raises(error, match="no, since") as caught:
            embed(server, patient)
        assert len(server.asked) == 1
    assert caught.value.code == code
    assert waits == []


def test_a_server_that_stays_silent_is_given_up(patient, waits):
    enough = threading.Event()

    def answer(_, request):
        enough.wait(PATIENCE)
        return means(request)

    with scripted(answer) as server:
        with pytest.raises(ServerUnreachable, match=r"silent for 2 s; raise timeout="):
            embed(server, patient, timeout=2.0)
        enough.set()
        assert len(server.asked) == 1
    assert waits == []


@pytest.mark.parametrize("info", [HTML, said(200, {}), said(200, {**INFO, "models": [{}]})])
def test_a_server_that_is_not_ours_is_told_from_ours(patient, info):
    with scripted(first()) as server:
        server.info = info
        with pytest.raises(UnexpectedReply, match="is this the address of an esm2 server"):
            embed(server, patient)
        assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (HTML, "text/html came instead of arrays"),
        (of_a_proxy(413), "answered 413: .*client_max_body_size"),
        (of_a_proxy(502), "answered 502: nothing answers behind it; is `esm2 serve` running"),
        (of_a_proxy(503), "answered 503: it has no server that is ready"),
        (of_a_proxy(504), "answered 504: .*proxy_read_timeout of nginx"),
        (said(200, {"results": []}), "application/json came instead of arrays"),
        (said(500, ["no"]), "without an error and its code"),
        (Answer(200, b"PK\3\4", {"Content-Type": "application/x-npz"}), "are damaged"),
        (npz({}), r"nothing as 0\.mean\.2"),
        (npz({"0.mean.2": np.zeros(DIM + 1, np.float32)}), r"float32 \(5,\) as 0\.mean\.2"),
        (npz({"0.mean.2": np.zeros(DIM, np.float64)}), r"float64 \(4,\) as 0\.mean\.2"),
        (npz({"0.mean.2": np.array([{}] * DIM)}), "are damaged"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(patient, answer, says):
    with scripted(always(answer)) as server, pytest.raises(UnexpectedReply, match=says):
        embed(server, patient)


def test_a_redirect_is_not_followed_and_the_token_stays_here(patient):
    with scripted(first()) as elsewhere:
        to = Answer(307, b"", {"Location": f"{elsewhere.url}/api"})
        with scripted(always(to)) as server:
            with pytest.raises(UnexpectedReply, match=f"redirects to {elsewhere.url}/api"):
                embed(server, patient, token="secret")
            assert server.asked[0].headers["Authorization"] == "Token secret"
        assert elsewhere.asked == []


# --- many at once ------------------------------------------------------------------------------

SEQUENCES = ["M" * (1 + number) for number in range(13)]


def test_requests_hold_what_the_server_accepts(patient):
    with scripted(first()) as server:
        np.testing.assert_array_equal(embed(server, patient, SEQUENCES), expected(SEQUENCES))
        assert sorted(len(request.sequences) for request in server.asked) == [1, 2, 2, 2, 2, 2, 2]
        assert max(len(request.body) for request in server.asked) <= LIMITS["max_body_bytes"]


def test_as_many_requests_as_allowed_are_on_their_way_at_once_and_no_more(patient):
    """Each of the first six waits for two others: with fewer at once it would never be answered."""
    together, lock, now, most = threading.Barrier(3, timeout=PATIENCE), threading.Lock(), [0], [0]

    def answer(number, request):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        if number < 6:
            together.wait()
        with lock:
            now[0] -= 1
        return means(request)

    with scripted(answer) as server:
        got = embed(server, patient, SEQUENCES, connections=3)
    np.testing.assert_array_equal(got, expected(SEQUENCES))
    assert most == [3]


def test_order_is_kept_when_the_first_is_answered_last(patient):
    others, last = itertools.count(1), threading.Event()

    def answer(_, request):
        if request.sequences[0] == SEQUENCES[0]:
            assert last.wait(PATIENCE)
        elif next(others) == 6:
            last.set()
        return means(request)

    with scripted(answer) as server:
        np.testing.assert_array_equal(embed(server, patient, SEQUENCES), expected(SEQUENCES))


def test_a_failure_ends_the_whole_at_once_and_says_which_sequence(patient):
    """The other requests are answered only after it was told."""
    enough, in_time = threading.Event(), []

    def answer(_, request):
        if request.sequences[0] != SEQUENCES[4]:
            in_time.append(enough.wait(PATIENCE))
            return means(request)
        faults = {"items__1__sequence": ["we do not like it"]}
        return said(400, {"error": faults, "code": "request.invalid_sequence"})

    with scripted(answer) as server:
        with pytest.raises(InvalidRequest) as caught:
            embed(server, patient, SEQUENCES)
        assert False not in in_time
        enough.set()
    assert caught.value.faults == {"sequences[5]": ["we do not like it"]}
    assert caught.value.code == "request.invalid_sequence"


# --- addresses and tokens ----------------------------------------------------------------------


def test_no_proxy_stands_between_a_client_and_its_own_machine(patient, monkeypatch):
    with scripted(first()) as proxy, scripted(first()) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        embed(server, patient)
        assert (len(server.asked), proxy.asked) == (1, [])


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [("/api/v3", "give the address without /api/v3"), ("", "is this the address")],
)
def test_an_address_with_more_in_it_than_the_server_has_is_told_what_to_leave_out(wrong, advice):
    with scripted(first()) as server:
        server.info = Answer(404, b"<html></html>", {"Content-Type": "text/html"})
        with pytest.raises(UnexpectedReply, match=advice), Client(server.url + wrong) as client:
            client.embed(["MKT"])


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("token", ["", "a b", "secret\n", "gehe\u00edm"])
def test_a_token_that_cannot_be_one_is_refused_and_not_repeated(kind, token):
    with pytest.raises(Esm2Error, match="without line end") as caught:
        kind("http://127.0.0.1:8000", token)
    assert caught.value.code == "settings.invalid"
    assert not token.strip() or token.strip() not in str(caught.value)
