"""The measurements of docs/reliability.md in a form of seconds: what must be true however short.

How fast anything was is for the long form, `python -m benchmarks.reliability`.
"""

from __future__ import annotations

from benchmarks.reliability import fuzz, kills, overload, soak


def test_under_overload_there_are_only_answers_and_refusals_and_every_answer_is_right():
    seen = overload.measure(0.5)
    assert seen["statuses"] == ["200", "429"]
    assert seen["wrong_results"] == 0
    assert [load["429_without_retry_after"] for load in seen["loads"]] == [0] * len(seen["loads"])


def test_killed_workers_cost_no_answer_and_leave_nothing_behind():
    seen = kills.kills(2)
    assert list(seen["statuses"]) == ["200"]
    assert (seen["wrong_results"], seen["zombies"]) == (0, 0)
    before, after = seen["files"]
    assert after <= before + 2  # connections that are just closing


def test_restarts_drop_nothing_that_was_accepted():
    seen = kills.restarts(1)
    assert (seen["dropped"], seen["wrong_results"], seen["exit_statuses"]) == (0, 0, [0])
    assert seen["statuses"]["200"] > 0


def test_no_bytes_and_no_body_get_a_server_error_or_silence():
    seen = fuzz.measure(600, 400)
    assert (seen["server_errors"], seen["hangs"], seen["worker_restarted"]) == (0, 0, False)
    assert seen["alive"]
    assert seen["raw_answers"]["400"] > 100
    assert {"200", "400"} <= set(seen["body_answers"])


def test_everything_at_once_is_answered_right():
    seen = soak.measure(6 / 3600)
    assert list(seen["statuses"]) == ["200"]
    assert seen["wrong_results"] == 0
    assert set(seen["statuses_of_bad_requests"]) <= {"400", "404", "413"}
