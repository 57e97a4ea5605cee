"""Company never changes a number: alone, first, middle or last in any pack, the same outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2.alphabet import TOKENS, tokenize
from esm2.engine.engine import Engine
from esm2.types import ForwardRequest, Want
from tests.conftest import Reference
from tests.oracles import KINDS, Arrays, differences, everything, flat
from tests.proteins import SEQUENCES

LIMITS = {"largest": 1e-5, "contacts": 1e-5}
SEATS = {"first": 0, "middle": 3, "last": 6}


def _alone(engine: Engine, request: ForwardRequest) -> Arrays:
    return flat(engine.run([request])[0])


def _companions(layers: int) -> list[ForwardRequest]:
    """Short and long, masked and not, each with a want of its own, one with none at all."""
    wants = {
        "1 gap": Want(contacts=True),
        "300, many masks": Want(layers=(0,), mean=True),
        "2 residues": everything(layers),
        "50, all masked": Want(logits=True),
        "300, some rare": Want(attentions=True),
        "1 residue": Want(),
    }
    return [ForwardRequest(tokenize(SEQUENCES[name]), want) for name, want in wants.items()]


@pytest.mark.parametrize("kind", [*KINDS, "everything"])
@pytest.mark.parametrize("seat", SEATS)
@pytest.mark.parametrize("shape", ["odd", "8m"])
def test_a_sequence_gives_the_same_numbers_in_any_company(
    reference: Callable[[str], Reference], shape: str, seat: str, kind: str
) -> None:
    engine = reference(shape).engine
    layers = engine.decided.shape.layers
    every_layer = tuple(range(layers + 1))
    want = everything(layers) if kind == "everything" else Want(every_layer, **{kind: True})
    request = ForwardRequest(tokenize(SEQUENCES["50, both ends masked"]), want)
    requests = _companions(layers)
    requests.insert(SEATS[seat], request)
    outputs = flat(engine.run(requests)[SEATS[seat]])
    alone = _alone(engine, request)
    assert len(alone) == {"everything": 3 * (layers + 1) + 3}.get(
        kind, layers + 1 if kind in ("mean", "per_token", "bos") else 1
    )
    wrong = differences(outputs, alone, **LIMITS)
    assert not wrong, f"{seat}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("shape", ["odd", "8m"])
def test_every_member_of_a_pack_gets_what_it_gets_alone(
    reference: Callable[[str], Reference], shape: str
) -> None:
    engine = reference(shape).engine
    requests = _companions(engine.decided.shape.layers)
    for request, outputs in zip(requests, engine.run(requests), strict=True):
        assert not differences(flat(outputs), _alone(engine, request), **LIMITS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["odd", "8m"])
def test_asking_for_more_does_not_change_an_output(
    reference: Callable[[str], Reference], shape: str, kind: str
) -> None:
    engine = reference(shape).engine
    layers = engine.decided.shape.layers
    tokens = tokenize(SEQUENCES["300, many masks"])
    more = _alone(engine, ForwardRequest(tokens, everything(layers)))
    for layer in range(layers + 1):
        less = _alone(engine, ForwardRequest(tokens, Want((layer,), **{kind: True})))
        assert less  # one output, and nothing that was not asked for
        assert set(less) == {f"{kind} {layer}" if kind in ("mean", "per_token", "bos") else kind}
        assert not differences(less, {name: more[name] for name in less}, **LIMITS), layer


def test_the_number_of_threads_does_not_change_an_output(
    reference: Callable[[str], Reference],
) -> None:
    engine = reference("8m").engine
    request = ForwardRequest(tokenize(SEQUENCES["300, many masks"]), everything(6))
    outputs = []
    for threads in (2, 1):  # one is what the tests of this room run with
        torch.set_num_threads(threads)
        outputs.append(_alone(engine, request))
    assert not differences(*outputs, **LIMITS)


def test_a_want_of_nothing_gives_nothing(reference: Callable[[str], Reference]) -> None:
    engine = reference("tiny").engine
    assert _alone(engine, ForwardRequest(tokenize("MKT"), Want(layers=(0, 1)))) == {}


LAYERS = 2  # of the tiny checkpoint

residue = st.sampled_from([*TOKENS[4:31], "<mask>"])
sequence = st.lists(residue, min_size=1, max_size=40).map("".join)
layer_sets = st.sets(st.integers(0, LAYERS)).map(lambda chosen: tuple(sorted(chosen)))
wants = st.builds(Want, layer_sets, *[st.booleans() for _ in KINDS])
requests_in_a_pack = st.lists(
    st.builds(lambda text, want: ForwardRequest(tokenize(text), want), sequence, wants),
    min_size=1,
    max_size=6,
)


@given(requests=requests_in_a_pack)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_random_companions_change_nothing(
    reference: Callable[[str], Reference], requests: list[ForwardRequest]
) -> None:
    engine = reference("tiny").engine
    for request, outputs in zip(requests, engine.run(requests), strict=True):
        assert not differences(flat(outputs), _alone(engine, request), **LIMITS)


@pytest.mark.parametrize("residues", [1, 2, 15, 16, 17, 301, 509])
@pytest.mark.parametrize("shape", ["odd", "8m"])
def test_contacts_are_symmetric_to_the_bit(
    reference: Callable[[str], Reference], shape: str, residues: int
) -> None:
    engine = reference(shape).engine
    sequence = ("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ" * 16)[:residues]
    contacts = engine.run([ForwardRequest(tokenize(sequence), Want(contacts=True))])[0].contacts
    assert contacts is not None
    assert (contacts == contacts.T).all()
