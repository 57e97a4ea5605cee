"""Every client learns what was wrong, in its own way, and loses nothing that was right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients import roster
from tests.clients.cases import (
    AGAIN,
    BAD_LETTER,
    BETWEEN,
    NO_MASK,
    NO_TOKEN,
    NOT_AGAIN,
    Case,
    Refusal,
)
from tests.clients.reports import (
    arrays,
    check_arrays,
    engine_arrays,
    refusal_of,
    results_of,
    sentence_of,
    shown,
)
from tests.clients.roster import Client
from tests.clients.table import SHOWN


def answered_around(client: Client, refusal: Refusal) -> bool:
    """Whether the two good items around a bad one are answered in the end."""
    singly = refusal is AGAIN or (client.singly and refusal is not NOT_AGAIN)
    return len(refusal.case.sequences) == 3 and singly


def unsent(client: Client, refusal: Refusal) -> bool:
    """Whether the SDK refuses by itself, without asking the server."""
    if refusal is NO_TOKEN:
        return client in roster.SDKS
    return client.program == "classes.py" and refusal in (BAD_LETTER, BETWEEN, NO_MASK)


def for_each(wanted: Callable[[Client, Refusal], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("client", "refusal"),
        [
            pytest.param(client, refusal, id=f"{client.name}: {refusal.case.name}")
            for client in roster.ALL
            for refusal in client.refusals()
            if wanted(client, refusal)
        ],
    )


def status_of(client: Client, refusal: Refusal) -> int:
    """The status that a client is to be told."""
    return 422 if client.dialect == "v1" and refusal.status == 400 else refusal.status


def check(client: Client, refusal: Refusal, report: Any, place: str) -> None:
    """The refusal that is expected, and no other."""
    status, body = refusal_of(client, report)
    assert status == status_of(client, refusal)
    assert body["code"] == refusal.code
    sentence = sentence_of(client, body, place)
    assert all(word in sentence for word in refusal.words), sentence


def check_unsent(client: Client, refusal: Refusal, report: Any) -> None:
    """What the SDKs themselves say."""
    if refusal is NO_TOKEN:
        assert report["raised"] == "AssertionError"
        assert "credentials found" in report["message"]
    else:
        [row] = report
        assert row["status_code"] is None
        assert ("<mask>" if refusal is NO_MASK else "Residues can only be") in row["error"]


@for_each(lambda *pair: not answered_around(*pair) and not unsent(*pair))
def test_a_refusal_says_what_and_where(session, table, client, refusal):
    report = session(client).report(refusal.case)
    several = client.program == "one_liners.py" and isinstance(report, list)
    for each in report if several else [report]:
        check(client, refusal, each, refusal.place)
    table.record(client, refusal.case, str(status_of(client, refusal)))
    if refusal is SHOWN:
        table.record_said(client, shown(report))


@for_each(answered_around)
def test_the_good_items_around_a_bad_one_get_their_numbers(session, model, table, client, refusal):
    first, bad, last = session(client).report(refusal.case)
    bad = [bad] if client.program == "classes.py" else bad
    if unsent(client, refusal):
        check_unsent(client, refusal, bad)
    else:
        check(client, refusal, bad, "items__0__sequence")
    good = Case("the good ones", "encode", refusal.case.sequences[::2])
    got = [arrays(client, result) for result in results_of(client, [first, last])]
    check_arrays(got, engine_arrays(model, good))
    bad_one = "SDK" if unsent(client, refusal) else status_of(client, refusal)
    table.record(client, refusal.case, f"= {bad_one} =")


@for_each(lambda *pair: unsent(*pair) and not answered_around(*pair))
def test_what_an_sdk_refuses_by_itself_is_not_sent(session, table, client, refusal):
    ran = session(client)
    report = ran.report(refusal.case)
    check_unsent(client, refusal, report)
    assert not ran.posts(refusal.case)
    table.record(client, refusal.case, "SDK")
