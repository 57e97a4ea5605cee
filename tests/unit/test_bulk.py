"""Records to outputs: order, window, refusals, and what happens when something stops it."""

import itertools
from concurrent.futures import Future

import numpy as np
import pytest

from esm2 import bulk
from esm2.errors import (
    ContactsUnavailable,
    EmptySequence,
    EngineError,
    InvalidFasta,
    InvalidSequence,
    SequenceTooLong,
)
from esm2.types import Outputs, Record, Want

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


def embed(records, submit, max_residues=100, in_flight_tokens=1_000):
    return bulk.embed(
        records, WANT, submit, max_residues=max_residues, in_flight_tokens=in_flight_tokens
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

    found = list(embed([record("a"), record("b", "M" * 50), record("c")], watching, 100, 20))
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
