"""A real server whose worker is killed or stopped, and one that is told to stop itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from esm2.catalog import DEMO_SLUG
from tests.natives import native
from tests.wire.server import PATIENCE, serving

ENCODE = f"/api/v2/{DEMO_SLUG}/encode/"
LONG = {"items": [{"sequence": "MKTAYIAKQR" * 200}]}
LARGE = {**LONG, "params": {"include": ["contacts"]}}


def children(server):
    """The pids of a server's workers."""
    tasks = Path(f"/proc/{server.pid}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def until(true):
    """Ask again and again."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < PATIENCE, "it never happened"
        threading.Event().wait(0.02)


def alone(body):
    return {"items": [{"sequence": body}]}


def test_a_worker_killed_in_mid_pass_loses_no_request_and_the_server_never_goes_down():
    with serving() as server, ThreadPoolExecutor(4) as callers:
        before = server.post(ENCODE, LONG).body
        answers = [callers.submit(server.post, ENCODE, LONG) for _ in range(4)]
        [worker] = children(server)
        os.kill(worker, signal.SIGKILL)
        assert [answer.result().status for answer in answers] == [200] * 4
        assert {answer.result().body for answer in answers} == {before}
        assert server.get("/health/ready").status == 200
        [other] = children(server)
        assert other != worker


def test_a_wedged_worker_is_noticed_and_one_that_goes_on_is_ready_again():
    with serving() as server, ThreadPoolExecutor(1) as callers:
        before = server.post(ENCODE, alone("MKTAYIAKQR")).body
        [worker] = children(server)
        os.kill(worker, signal.SIGSTOP)
        answer = callers.submit(server.post, ENCODE, alone("MKTAYIAKQR"))
        until(lambda: server.get("/health/ready").status == 503)
        assert server.get("/health/ready").json()["code"] == "service.model_unavailable"
        assert server.get("/health/live").status == 200
        os.kill(worker, signal.SIGCONT)
        assert answer.result().body == before
        until(lambda: server.get("/health/ready").status == 200)
        assert children(server) == [worker]


def test_a_wedged_worker_is_replaced_and_what_it_had_in_hand_is_answered():
    with serving("--hung-seconds", "8") as server:  # more than the next one needs
        before = server.post(ENCODE, alone("MKTAYIAKQR")).body
        [worker] = children(server)
        os.kill(worker, signal.SIGSTOP)
        answer = server.post(ENCODE, alone("MKTAYIAKQR"))
        assert (answer.status, answer.body) == (200, before)
        until(lambda: server.get("/health/ready").status == 200)
        assert worker not in children(server)


def test_a_busy_server_is_ready():
    with serving() as server, ThreadPoolExecutor(4) as callers:
        answers = [callers.submit(server.post, ENCODE, LONG) for _ in range(4)]
        assert server.get("/health/ready").status == 200
        assert [answer.result().status for answer in answers] == [200] * 4


def test_of_two_workers_both_compute_and_either_may_die():
    with serving("--workers", "2") as server, ThreadPoolExecutor(8) as callers:
        before = server.post(ENCODE, LONG).body
        first, second = children(server)
        answers = [callers.submit(server.post, ENCODE, LONG) for _ in range(8)]
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGKILL)
        assert {answer.result().body for answer in answers} == {before}


def test_workers_end_with_a_server_that_is_killed():
    with serving() as server:
        [worker] = children(server)
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{worker}").exists())


def test_a_deadline_is_kept_and_what_was_not_computed_is_dropped():
    with serving() as server, ThreadPoolExecutor(4) as callers:
        busy = [callers.submit(server.post, ENCODE, LONG) for _ in range(3)]
        late = server.post(ENCODE, LONG, {"X-ESM2-Timeout": "0.01"})
        assert late.status == 504
        assert late.json()["code"] == "service.deadline_exceeded"
        assert [answer.result().status for answer in busy] == [200] * 3


def test_what_cannot_fit_into_memory_is_refused_with_the_longest_that_would():
    with serving("--memory-mb", "64") as server:
        refused = server.post(ENCODE, LARGE)
        assert refused.status == 400
        assert refused.json()["code"] == "request.does_not_fit"
        [(place, [sentence])] = refused.json()["error"].items()
        assert place == "items__0__sequence"
        longest = int(sentence.partition("at most ")[2].split()[0])
        fits = {**LARGE, "items": alone("M" * longest)["items"]}
        assert server.post(ENCODE, fits).status == 200
        too_long = {**LARGE, "items": alone("M" * (longest + 1))["items"]}
        assert server.post(ENCODE, too_long).json()["code"] == "request.does_not_fit"


@native
def test_short_requests_go_ahead_of_a_long_one_that_is_being_computed():
    with serving() as server, ThreadPoolExecutor(1) as callers:
        long = callers.submit(server.post, ENCODE, {**LONG, "params": {"include": ["attentions"]}})
        answered = 0
        while not long.done():
            assert server.post(ENCODE, alone("MKTAY")).status == 200
            answered += 1
        assert long.result().status == 200
        # In turn, it would be two: one before it and one behind.
        assert answered > 3


def test_a_full_queue_says_when_to_come_back():
    with serving("--queue-tokens", "10") as server, ThreadPoolExecutor(8) as callers:
        answers = [callers.submit(server.post, ENCODE, LARGE) for _ in range(8)]
        refused = [answer.result() for answer in answers if answer.result().status != 200]
        assert refused
        for own in refused:
            assert own.status == 429
            assert own.json()["code"] == "service.overloaded"
            assert int(own.headers["Retry-After"]) >= 1


def test_from_sigterm_on_it_is_not_ready_finishes_what_it_has_and_then_ends():
    with serving("--drain-seconds", "5") as server, ThreadPoolExecutor(1) as callers:
        before = server.post(ENCODE, LONG).body
        assert server.get("/health/ready").status == 200
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: server.get("/health/ready").status == 503)
        assert server.get("/health/live").status == 200
        answer = callers.submit(server.post, ENCODE, LONG)
        assert answer.result().body == before
        status, stderr = server.stop()
        assert status == 0
        assert "Traceback" not in stderr
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(server.address)


def test_a_wedged_worker_does_not_keep_it_from_stopping():
    body = json.dumps(alone("MKTAYIAKQR")).encode()
    head = f"POST {ENCODE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with serving("--grace-seconds", "1") as server:
        [worker] = children(server)
        os.kill(worker, signal.SIGSTOP)
        with socket.create_connection(server.address, timeout=PATIENCE) as connection:
            connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(body)
            status, stderr = server.stop()
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
        assert status == 0
        assert "Traceback" not in stderr
        assert not Path(f"/proc/{worker}").exists()
