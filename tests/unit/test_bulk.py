"""Records to outputs: order, bounds, long ones, refusals, and what happens when it is stopped."""

import itertools
from concurrent.futures import Future

import numpy as np
import pytest

from esm2 import bulk
from esm2.alphabet import tokenize
from esm2.errors import (
    ContactsUnavailable,
    EmptySequence,
    EngineError,
    InvalidFasta,
    InvalidSequence,
    RequestError,
    SequenceTooLong,
)
from esm2.pooling import Region
from esm2.types import Outputs, Record, Want
from esm2.windows import windows

WANT = Want(layers=(6,), mean=True)


def record(name, sequence="MKT", line=1):
    return Record(name, name, sequence, line)


def answer(request):
    return Outputs(mean={6: np.full(2, len(request.tokens), np.float32)})


class Answers:
    """A `submit` whose answers are computed when they are waited for, and never before."""

    def __init__(self, compute=answer):
        self.compute = compute
        self.futures = []

    def __call__(self, request):
        outer = self

        class Answer(Future):
            def result(self, timeout=None):
                if not self.done():
                    self.set_result(outer.compute(request))
                return super().result(timeout)

        self.futures.append(Answer())
        return self.futures[-1]

    @property
    def waiting(self):
        return [future for future in self.futures if not future.done()]

    @property
    def cancelled(self):
        return [future.cancelled() for future in self.futures]


def embed(records, submit, *, max_residues=100, in_flight_tokens=1_000, want=WANT, **how):
    return bulk.embed(
        records,
        want,
        submit,
        max_residues=max_residues,
        in_flight_tokens=in_flight_tokens,
        **how,
    )


def test_results_come_in_input_order_whatever_order_they_are_ready_in():
    waiting = []

    def submit(request):
        waiting.append((request, Future()))
        if len(waiting) == 5:
            for done, future in reversed(waiting):
                future.set_result(answer(done))
        return waiting[-1][1]

    records = [record(f"r{i}", "M" * (i + 1)) for i in range(5)]
    found = list(embed(records, submit))

    assert [item.record for item in found] == records
    assert [item.residues for item in found] == [1, 2, 3, 4, 5]
    assert [item.result.mean[6][0] for item in found] == [3, 4, 5, 6, 7]


def test_a_request_carries_the_tokens_of_its_record_and_what_is_wanted():
    requests = []

    def submit(request):
        requests.append(request)
        future = Future()
        future.set_result(answer(request))
        return future

    list(embed([record("a", "MK<mask>")], submit))
    assert requests[0].tokens.tolist() == [0, 20, 15, 32, 2]
    assert requests[0].want is WANT


def test_the_window_is_filled_and_never_exceeded():
    submit = Answers()
    seen = []

    def records():
        for i in range(200):
            yield record(f"r{i}", "M" * (1 + i % 7))
            # The generator has come back for the next one: this is what is in flight now.
            seen.append(len(submit.waiting))

    found = list(embed(records(), submit, in_flight_tokens=60))
    assert len(found) == 200
    # A record costs 3 to 9 tokens, 6 on average: ten of them fill the window.
    assert 8 <= max(seen) <= 20
    assert np.mean(seen[20:]) > 8


def test_a_record_larger_than_the_window_travels_alone():
    submit = Answers()
    at_large = []

    def watching(request):
        if len(request.tokens) == 52:
            at_large.append(len(submit.waiting))
        return submit(request)

    found = list(
        embed([record("a"), record("b", "M" * 50), record("c")], watching, in_flight_tokens=20)
    )
    assert [item.residues for item in found] == [3, 50, 3]
    assert at_large == [0]


def test_records_are_read_only_as_they_are_needed():
    endless = (record(f"r{i}") for i in itertools.count())
    results = embed(endless, Answers(), in_flight_tokens=50)
    assert [item.record.id for item in itertools.islice(results, 3)] == ["r0", "r1", "r2"]
    assert int(next(endless).id[1:]) <= 15
    results.close()


def test_a_record_that_cannot_be_used_keeps_its_place_and_disturbs_no_other():
    records = [
        record("good"),
        record("empty", ""),
        record("letter", "MKtA"),
        record("long", "M" * 101),
        record("fine", "M" * 100),
    ]
    found = list(embed(records, Answers()))
    assert [item.record.id for item in found] == ["good", "empty", "letter", "long", "fine"]
    assert [type(item.result) for item in found] == [
        Outputs,
        EmptySequence,
        InvalidSequence,
        SequenceTooLong,
        Outputs,
    ]
    assert (found[2].result.position, found[2].result.letter) == (2, "t")
    assert (found[3].result.length, found[3].result.limit) == (101, 100)


def test_a_mask_is_one_residue():
    (item,) = embed([record("a", "<mask>" * 3)], Answers(), max_residues=3)
    assert item.residues == 3
    assert isinstance(item.result, Outputs)


def test_a_refusal_by_the_engine_is_that_of_its_record():
    def compute(request):
        if len(request.tokens) == 4:
            raise ContactsUnavailable("x")
        return answer(request)

    found = list(embed([record("a"), record("b", "MK"), record("c")], Answers(compute)))
    assert [type(item.result) for item in found] == [Outputs, ContactsUnavailable, Outputs]


def fail(error):
    def compute(request):
        raise error

    return compute


@pytest.mark.parametrize("error", [EngineError("no memory"), KeyboardInterrupt()])
def test_a_failure_or_an_interrupt_stops_everything_and_cancels_what_waits(error):
    submit = Answers(fail(error))
    with pytest.raises(type(error)):
        list(embed([record("a"), record("b"), record("c")], submit))
    assert submit.cancelled == [True, True, True]


def test_a_damaged_file_stops_everything_and_cancels_what_waits():
    def records():
        yield record("a")
        yield record("b")
        raise InvalidFasta("x.fa", 5, "damaged")

    submit = Answers()
    with pytest.raises(InvalidFasta):
        list(embed(records(), submit))
    assert submit.cancelled == [True, True]


def test_closing_the_iteration_cancels_what_waits():
    submit = Answers()
    results = embed([record(name) for name in "abcd"], submit)
    next(results)
    results.close()
    assert submit.cancelled == [False, True, True, True]


def test_a_record_without_the_residues_that_are_asked_about_is_refused_and_never_submitted():
    asked = []

    def of(record, residues):
        asked.append((record.id, residues))
        if residues < 4:
            raise RequestError("too short")
        return Region(((2, 4),))

    submit = Answers()
    records = [record("a", "M" * 9), record("b"), record("c", "MKt"), record("d", "M" * 20)]
    found = list(embed(records, submit, max_residues=10, long="truncate", region=of))
    assert asked == [("a", 9), ("b", 3), ("d", 10)]
    assert [str(item.result) for item in found][1] == "too short"
    assert [item.used for item in found] == [9, 0, 0, 10]
    assert [str(item.region) for item in found] == ["2-4", "None", "None", "2-4"]
    assert len(submit.futures) == 2


# --- records that are too long -------------------------------------------------------------------

LONG = "".join("ACDEFGHIKLMNPQRSTVWY"[i % 20] for i in range(47))


def rows(request):
    """Of each residue its token, its place among those asked about, and how many these are."""
    own = request.tokens[1:-1].astype(np.float32)
    array = np.stack([own, np.arange(len(own)), np.full(len(own), len(own))], 1, dtype=np.float32)
    want = request.want
    return Outputs(
        mean={6: array.mean(0)} if want.mean else {},
        per_token={6: array} if want.per_token else {},
    )


def test_a_truncated_record_is_its_first_residues():
    want = Want(layers=(6,), mean=True, per_token=True)
    short, long = embed(
        [record("short", LONG[:10]), record("long", LONG)],
        Answers(rows),
        max_residues=10,
        long="truncate",
        want=want,
    )
    assert (short.residues, short.used, short.windows) == (10, 10, 1)
    assert (long.residues, long.used, long.windows) == (47, 10, 1)
    np.testing.assert_array_equal(long.result.per_token[6], short.result.per_token[6])
    np.testing.assert_array_equal(long.result.mean[6], short.result.mean[6])


def test_a_truncated_record_keeps_its_masks_whole():
    requests = []

    def compute(request):
        requests.append(request.tokens.tolist())
        return rows(request)

    list(embed([record("a", "M<mask>K" * 3)], Answers(compute), max_residues=5, long="truncate"))
    assert requests == [[0, 20, 32, 15, 20, 32, 2]]


@pytest.mark.parametrize("kinds", [{"mean"}, {"per_token"}, {"mean", "per_token"}])
def test_windows_together_are_every_residue_of_the_record(kinds):
    asked = []

    def compute(request):
        asked.append((request.want.mean, request.want.per_token, len(request.tokens)))
        return rows(request)

    want = Want(layers=(6,), **dict.fromkeys(kinds, True))
    (item,) = embed(
        [record("a", LONG)], Answers(compute), max_residues=10, long="window", want=want
    )
    plan = windows(47, 10)
    assert asked == [(False, True, 12)] * len(plan)
    assert (item.residues, item.used, item.windows) == (47, 47, len(plan))
    places = [(i, i - own.start) for own in plan for i in range(own.first, own.last)]
    expected = np.float32([[tokenize(LONG)[1 + i], place, 10] for i, place in places])
    if "per_token" in kinds:
        np.testing.assert_array_equal(item.result.per_token[6], expected)
    if "mean" in kinds:
        np.testing.assert_allclose(item.result.mean[6], expected.mean(0), rtol=1e-6)
    assert bool(item.result.per_token) == ("per_token" in kinds)
    assert bool(item.result.mean) == ("mean" in kinds)


def test_a_record_that_fits_is_asked_for_whole_whatever_becomes_of_others():
    for long in ("error", "truncate", "window"):
        wants = []

        def compute(request, wants=wants):
            wants.append(request.want)
            return answer(request)

        (item,) = embed([record("a", "M" * 10)], Answers(compute), max_residues=10, long=long)
        assert wants == [WANT]
        assert (item.used, item.windows) == (10, 1)


def test_a_rejected_record_has_nothing_that_was_used():
    found = list(embed([record("a", "M" * 101), record("b", "MKt")], Answers()))
    assert [(item.residues, item.used, item.windows) for item in found] == [(101, 0, 0), (0, 0, 0)]


def test_a_window_that_is_refused_refuses_its_record_and_no_other():
    def compute(request):
        if request.tokens[1] == tokenize("W")[1]:
            raise ContactsUnavailable("x")
        return rows(request)

    long = "M" * 20 + "W" + "M" * 26
    records = [record("a", LONG[:9]), record("b", long), record("c", LONG[:9])]
    starts = [own.start for own in windows(47, 40)]
    assert 20 not in starts  # so that no window begins with it
    found = list(embed(records, Answers(compute), max_residues=40, long="window"))
    assert [type(item.result) for item in found] == [Outputs, Outputs, Outputs]
    shifted = record("b", "W" + long)
    found = list(embed([records[0], shifted], Answers(compute), max_residues=40, long="window"))
    assert [type(item.result) for item in found] == [Outputs, ContactsUnavailable]


def test_windows_that_were_submitted_are_cancelled_when_a_later_one_cannot_be():
    submit = Answers(rows)

    def failing(request):
        if len(submit.futures) == 3:
            raise EngineError("it has gone")
        return submit(request)

    with pytest.raises(EngineError):
        list(embed([record("a", LONG)], failing, max_residues=10, long="window"))
    assert submit.cancelled == [True, True, True]


def test_windows_are_cancelled_when_the_iteration_is_closed():
    submit = Answers(rows)
    results = embed([record("a"), record("b", LONG)], submit, max_residues=10, long="window")
    next(results)
    results.close()
    assert submit.cancelled == [False] + [True] * len(windows(47, 10))


def test_windows_count_in_full_among_the_tokens_in_flight():
    submit = Answers(rows)
    most = []

    def watching(request):
        most.append(12 * len(submit.waiting))
        return submit(request)

    records = [record(f"r{i}", LONG) for i in range(50)]
    list(embed(records, watching, max_residues=10, in_flight_tokens=400, long="window"))
    assert max(most) <= 400
