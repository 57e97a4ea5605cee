"""Company never changes a bit: alone, first, middle or last in any pack, the same outputs.

With torch-sdpa, which promises less, up to the limits of the numeric contract.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2.alphabet import TOKENS, tokenize
from esm2.engine import onednn
from esm2.engine.engine import Engine
from esm2.numerics import BITS, COMPANY, MORE
from esm2.types import ForwardRequest, Want
from tests.checkpoints import random_fair_esm, save_hf
from tests.conftest import Reference
from tests.natives import KERNELS
from tests.near import Arrays, company, differences
from tests.oracles import KINDS, everything, flat
from tests.proteins import SEQUENCES, residues

#: The kernels of this machine that promise bits.
INVARIANT = [*KERNELS, *([onednn.KERNEL] if onednn.available() else [])]
SEATS = {"first": 0, "middle": 3, "last": 6}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Engine]:
    """An engine of three layers by a kernel, loaded where torch has that many threads."""
    model = random_fair_esm(3, 96, 4, seed=16)
    directory = save_hf(model, tmp_path_factory.mktemp("company") / "c")

    @functools.cache
    def load(kernel: str, threads: int) -> Engine:
        torch.set_num_threads(threads)
        engine = Engine.load(directory, "company", device="cpu", kernel=kernel)
        assert engine.decided.batch_invariant == (kernel in INVARIANT)
        return engine

    return load


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
    assert len(alone) == {"everything": 3 * (layers + 1) + 4}.get(
        kind, layers + 1 if kind in ("mean", "per_token", "bos") else 1
    )
    wrong = differences(outputs, alone, company())
    assert not wrong, f"{seat}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("shape", ["odd", "8m"])
def test_every_member_of_a_pack_gets_what_it_gets_alone(
    reference: Callable[[str], Reference], shape: str
) -> None:
    engine = reference(shape).engine
    requests = _companions(engine.decided.shape.layers)
    for request, outputs in zip(requests, engine.run(requests), strict=True):
        assert not differences(flat(outputs), _alone(engine, request), company())


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
        assert not differences(less, {name: more[name] for name in less}, MORE), layer


def test_the_number_of_threads_does_not_change_an_output(
    reference: Callable[[str], Reference],
) -> None:
    engine = reference("8m").engine
    request = ForwardRequest(tokenize(SEQUENCES["300, many masks"]), everything(6))
    outputs = []
    for threads in (2, 1):  # one is what the tests of this room run with
        torch.set_num_threads(threads)
        outputs.append(_alone(engine, request))
    assert not differences(*outputs, company())


@pytest.mark.parametrize("kernel", INVARIANT)
def test_threads_do_not_change_one_bit_of_long_sequences(
    engines: Callable[[str, int], Engine], kernel: str
) -> None:
    """Long enough that torch would share out the elements of an L x L matrix."""
    for length in (182, 183, 257, 301):
        request = ForwardRequest(tokenize("".join(residues(length))), everything(3))
        outputs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            outputs.append(_alone(engines(kernel, threads), request))
        for other in outputs[1:]:
            assert not differences(other, outputs[0], BITS), length


@pytest.mark.parametrize("kernel", INVARIANT)
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 301])
def test_contacts_are_symmetric_to_the_bit(
    engines: Callable[[str, int], Engine], kernel: str, length: int
) -> None:
    request = ForwardRequest(tokenize("".join(residues(length))), Want(contacts=True))
    contacts = _alone(engines(kernel, 1), request)["contacts"]
    assert np.array_equal(contacts, contacts.T)


def test_without_prepacked_products_company_changes_less_than_it_may(
    engines: Callable[[str, int], Engine],
) -> None:
    engine = engines("torch-sdpa", 1)
    requests = _companions(3)
    for request, outputs in zip(requests, engine.run(requests), strict=True):
        assert not differences(flat(outputs), _alone(engine, request), COMPANY)


def test_a_want_of_nothing_gives_nothing(reference: Callable[[str], Reference]) -> None:
    engine = reference("tiny").engine
    assert _alone(engine, ForwardRequest(tokenize("MKT"), Want(layers=(0, 1)))) == {}


letter = st.sampled_from([*TOKENS[4:31], "<mask>"])
sequence = st.lists(letter, min_size=1, max_size=80).map("".join)
layer_sets = st.sets(st.integers(0, 3)).map(lambda chosen: tuple(sorted(chosen)))
asked = st.builds(
    lambda text, want: ForwardRequest(tokenize(text), want),
    sequence,
    st.builds(Want, layer_sets, *[st.booleans() for _ in KINDS]),
)


@pytest.mark.parametrize("kernel", INVARIANT)
@given(requests=st.lists(asked, min_size=1, max_size=7), packs=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
def test_company_order_seats_pack_sizes_and_threads_do_not_change_one_bit(
    engines: Callable[[str, int], Engine],
    kernel: str,
    requests: list[ForwardRequest],
    packs: random.Random,
) -> None:
    one = engines(kernel, 1)
    alone = [_alone(one, request) for request in requests]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        order = packs.sample(range(len(requests)), len(requests))
        cut = packs.randint(0, len(order))
        for pack in filter(None, (order[:cut], order[cut:])):
            outputs = engines(kernel, threads).run([requests[place] for place in pack])
            for place, own in zip(pack, outputs, strict=True):
                assert not differences(flat(own), alone[place], BITS), (kernel, threads)
