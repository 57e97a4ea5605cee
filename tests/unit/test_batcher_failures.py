"""The batcher when an executor fails: only the request fails whose fault it was."""

import pytest

from esm2.errors import ContactsUnavailable, EngineCrashed, EngineError
from tests.batching import PATIENCE, Busy, answers, cost_of, fails_on, value


def test_of_a_batch_that_fails_only_the_request_fails_whose_fault_it_is():
    error = EngineError("out of memory")
    with Busy(fails_on(7, error), pack_tokens=10) as busy:
        futures = busy.submit(6, 4, 7, 3, 5, 5)
        busy.finish()
        assert busy.batches == [[6, 4], [7, 3], [7], [3], [5, 5]]
        failures = [future.exception(0) for future in futures]
        assert [own is not None for own in failures] == [False, False, True, False, False, False]
        assert str(failures[2]) == str(error)
        assert value(futures[3]) == 3


def test_the_culprit_of_a_large_batch_is_found_in_halves():
    with Busy(fails_on(6, EngineError("NaN")), pack_tokens=100) as busy:
        futures = busy.submit(1, 2, 3, 4, 5, 6, 7, 8)
        busy.finish()
        assert [len(batch) for batch in busy.batches] == [8, 4, 4, 2, 1, 1, 2]
        failed = [cost for cost, own in enumerate(futures, 1) if own.exception(0)]
        assert failed == [6]


def test_a_refusal_is_the_answer_of_the_whole_batch_and_nothing_is_computed_again():
    error = ContactsUnavailable("my-slug")
    with Busy(fails_on(7, error), pack_tokens=10) as busy:
        futures = busy.submit(7, 3)
        busy.finish()
        assert busy.batches == [[7, 3]]
        one, other = (future.exception(0) for future in futures)
        assert type(one) is type(other) is ContactsUnavailable
        assert str(one) == str(other) == str(error)
        assert one.name == other.name == "my-slug"
        assert len({id(one), id(other), id(error)}) == 3  # each caller may raise its own


def dies(*times):
    """An executor whose process is lost at these calls, counted from 1."""
    calls = iter(range(1, 1000))

    def executor(requests):
        if next(calls) in times:
            raise EngineCrashed("my-slug", "signal 9")
        return answers(requests)

    return executor


def test_a_request_whose_engine_died_is_computed_once_more():
    with Busy(dies(1)) as busy:
        (future,) = busy.submit(5)
        busy.finish()
        assert busy.batches == [[5], [5]]
        assert value(future) == 5


def test_a_request_whose_engine_died_twice_fails_and_nothing_else_does():
    with Busy(dies(1, 2), pack_tokens=5) as busy:
        futures = busy.submit(5, 4)
        busy.finish()
        assert busy.batches == [[5], [5], [4]]
        assert type(futures[0].exception(0)) is EngineCrashed
        assert value(futures[1]) == 4


def test_a_batch_whose_engine_died_is_computed_once_more_in_halves():
    with Busy(dies(1), pack_tokens=10) as busy:
        futures = busy.submit(1, 2, 3)
        busy.finish()
        assert busy.batches == [[1, 2, 3], [1], [2, 3]]
        assert [value(future) for future in futures] == [1, 2, 3]


@pytest.mark.parametrize("error", [ContactsUnavailable("my-slug"), EngineError("no memory")])
def test_an_error_of_ours_arrives_as_it_was_raised(error):
    with Busy(fails_on(2, error)) as busy:
        (future,) = busy.submit(2)
        busy.finish()
        assert type(future.exception(0)) is type(error)
        assert str(future.exception(0)) == str(error)
        assert vars(future.exception(0)) == vars(error)


def test_a_foreign_error_becomes_an_engine_error_that_keeps_its_cause():
    cause = ZeroDivisionError("by zero")
    with Busy(fails_on(2, cause)) as busy:
        (future,) = busy.submit(2)
        busy.finish()
        error = future.exception(0)
        assert type(error) is EngineError
        assert error.__cause__ is cause
        assert str(error) == "the forward pass failed: ZeroDivisionError: by zero"


@pytest.mark.parametrize("outputs", [0, 1, 3])
def test_a_wrong_number_of_outputs_fails_the_batch(outputs):
    def executor(requests):
        given = answers(requests)
        return (given * 2)[:outputs] if 7 in map(cost_of, requests) else given

    with Busy(executor, pack_tokens=10) as busy:
        failed, alone, after = busy.submit(7, 3, 8)
        busy.finish()
        assert type(failed.exception(0)) is EngineError or value(failed) == 7
        assert value(alone) == 3
        assert value(after) == 8


def test_the_batcher_lives_on_after_a_failure():
    with Busy(fails_on(2, RuntimeError("once"))) as busy:
        busy.release()
        for _ in range(3):
            with pytest.raises(EngineError):
                busy.submit(2)[0].result(PATIENCE)
            assert value(busy.submit(3)[0]) == 3
