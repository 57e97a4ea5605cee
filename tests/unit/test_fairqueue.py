"""The fair queue: whose turn it is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from esm2.fairqueue import FairQueue


def anything(_):
    return True


def taken(queue, count=None):
    count = len(queue) if count is None else count
    return [queue.pop(anything) for _ in range(count)]


def filled(**waiting):
    """A queue in which each caller put these, one caller after the other; a thing takes itself."""
    queue = FairQueue()
    for caller, things in waiting.items():
        for thing in things:
            queue.put((caller, thing), caller, thing)
    return queue


def test_one_caller_alone_has_a_plain_queue():
    assert [thing for _, thing in taken(filled(a=[3, 1, 2]))] == [3, 1, 2]


def test_callers_take_turns_whatever_the_order_in_which_they_came():
    order = [caller for caller, _ in taken(filled(a=[1, 1, 1], b=[1, 1, 1]))]
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_turns_are_of_work_not_of_things():
    order = [caller for caller, _ in taken(filled(a=[8, 8], b=[2] * 8))]
    assert order == ["a", "b", "b", "b", "b", "a", "b", "b", "b", "b"]


def test_of_one_caller_a_short_request_passes_by_a_long_one():
    queue = FairQueue()
    for part in range(8):
        queue.put(("long", part), "a", 5, 40)
    assert taken(queue, 2) == [("long", 0), ("long", 1)]
    queue.put("short", "a", 1)
    assert taken(queue, 1) == ["short"]
    assert taken(queue) == [("long", part) for part in range(2, 8)]


def test_of_one_caller_a_long_request_does_not_wait_for_ever():
    queue = FairQueue()
    queue.put("long", "a", 40, 40)
    given = []
    while "long" not in given:
        queue.put("short", "a", 1)
        given += taken(queue, 1)
    assert given == ["short"] * 40 + ["long"]


def test_of_one_caller_equal_requests_stay_in_order():
    queue = FairQueue()
    for number in range(3):
        for part in range(2):
            queue.put((number, part), "a", 5, 10)
    assert taken(queue) == [(number, part) for number in range(3) for part in range(2)]


def test_many_requests_of_one_caller_are_no_more_than_one_of_another():
    queue = FairQueue()
    for _ in range(4):
        queue.put("a", "a", 1, 4)
        queue.put("b", "b", 1)
    assert taken(queue) == ["a", "b"] * 4


def test_who_comes_new_does_not_wait_behind_what_others_have_piled_up():
    queue = filled(a=[5] * 100)
    taken(queue, 10)
    queue.put(("b", 1), "b", 1)
    assert ("b", 1) in taken(queue, 2)


def test_who_was_idle_has_saved_nothing_up():
    queue = filled(a=[1] * 50, b=[1])
    taken(queue, 40)
    for _ in range(10):
        queue.put(("b", 1), "b", 1)
    order = [caller for caller, _ in taken(queue, 8)]
    assert order.count("b") <= 5


def test_ahead_is_ahead_of_everyone_the_newest_first():
    queue = filled(a=[1])
    queue.put_ahead("one")
    queue.put_ahead("two")
    assert taken(queue) == ["two", "one", ("a", 1)]


def test_what_does_not_suit_keeps_its_place():
    queue = filled(a=[9, 1, 9, 1])
    assert queue.pop(lambda own: own[1] == 1) == ("a", 1)
    assert queue.pop(lambda own: own[1] == 5) is None
    assert queue.pop(lambda own: own[1] == 1, look=1) is None
    assert [thing for _, thing in taken(queue)] == [9, 9, 1]


def test_so_many_things_are_looked_at_whoever_they_are_of():
    queue = filled(a=[9, 9], b=[9, 1])
    queue.put_ahead("one")
    for look in range(1, 5):
        assert queue.pop(lambda own: own[1] == 1, look=look) is None
    assert queue.pop(lambda own: own[1] == 1, look=5) == ("b", 1)
    assert taken(queue) == ["one", ("a", 9), ("b", 9), ("a", 9)]


def test_what_a_caller_is_given_out_of_turn_counts():
    queue = filled(a=[5, 5, 1], b=[3, 3], c=[1])
    assert queue.pop_of("a", lambda own: own[1] == 1) is None
    assert [queue.pop_of("a", anything) for _ in range(2)] == [("a", 5), ("a", 5)]
    assert queue.pop_of("c", anything) == ("c", 1)
    assert [queue.pop_of(gone, anything) for gone in "cd"] == [None, None]
    assert taken(queue) == [("b", 3), ("b", 3), ("a", 1)]


def test_callers_are_counted_by_what_they_have_waiting():
    queue = filled(a=[1, 1], b=[1])
    assert (queue.callers, queue.has("a"), queue.has("c")) == (2, True, False)
    taken(queue, 2)
    assert (queue.callers, queue.has("b")) == (1, False)
    assert len(queue.clear()) == 1
    assert (queue.callers, len(queue)) == (0, 0)


def test_callers_who_have_nothing_waiting_are_forgotten():
    queue = filled(a=[1] * 6000)
    for number in range(5000):
        queue.put(("x", number), f"caller {number}", 0.5)
        taken(queue, 2)
        if not queue.has("a"):
            break
    assert len(queue._finish) < 3000


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=60))
def test_everything_comes_out_once_and_each_caller_has_its_order(things):
    queue = FairQueue()
    for number, (caller, takes) in enumerate(things):
        queue.put((caller, number), caller, takes)
    out = taken(queue)
    assert sorted(number for _, number in out) == list(range(len(things)))
    for caller in "abc":
        own = [number for whose, number in out if whose == caller]
        assert own == sorted(own)


def test_what_is_dropped_was_never_there():
    queue = filled(a=[1], b=[1])
    place = queue.put(("a", 100), "a", 100)
    queue.drop(place, "a")
    assert (len(queue), queue.callers) == (2, 2)
    queue.put(("a", 2), "a", 2)
    queue.put(("b", 2), "b", 2)
    assert taken(queue) == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


@settings(deadline=None, derandomize=True)
@given(
    things=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), max_size=40
    )
)
def test_what_is_left_comes_in_the_same_number_whatever_was_dropped(things):
    queue = FairQueue()
    places = [queue.put(number, who, takes) for number, (who, takes, _) in enumerate(things)]
    for place, (caller, _, goes) in zip(places, things, strict=True):
        if goes:
            queue.drop(place, caller)
    stay = [number for number, (_, _, goes) in enumerate(things) if not goes]
    assert sorted(queue) == stay
    assert queue.callers == len({things[number][0] for number in stay})
    assert sorted(taken(queue)) == stay
    assert queue.pop(anything) is None
