"""`esm2.client` against the real server: what `esm2.load` gives, number for number."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from esm2.alphabet import AMINO_ACIDS, tokenize
from esm2.client import AsyncClient, Client
from esm2.errors import (
    ContactsUnavailable,
    InvalidRequest,
    LayerOutOfRange,
    MaskNotAllowed,
    ModelNotServed,
    SettingsError,
    Unauthenticated,
    UnknownModel,
)
from esm2.types import ForwardRequest, Want
from tests.near import assert_same

KINDS = ("mean", "per_token", "bos", "logits", "contacts", "attentions")
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"
SEQUENCES = [PROTEIN, "M", "XBUZO.-", PROTEIN * 9, "GG"]
#: More than three requests of eight, every length another.
MANY = [(PROTEIN * 2)[: 1 + number] for number in range(30)]
TOKEN = "second-secret"


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url, model="my-slug") as own:
        yield own


def same(got, want):
    """The very numbers."""
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)


def close(got, want):
    """The numbers, whatever was in the pack here and there."""
    assert got.dtype == np.float32
    assert_same(got, want)


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["my-slug", "esm2-8m"])
@pytest.mark.parametrize("layers", [(-1,), (0,), (2, 0, -1, 2)])
@pytest.mark.parametrize("pool", ["mean", "max", "bos"])
def test_embed_gives_what_the_model_gives_in_this_process(server, direct, slug, layers, pool):
    with Client(server.url, model=slug) as own:
        got = own.embed(SEQUENCES, layers, pool)
    close(got, direct(slug).embed(SEQUENCES, layers, pool))


@pytest.mark.parametrize("layers", [(-1,), (1, 0)])
def test_embed_gives_every_residue_without_pooling(client, direct, layers):
    got = client.embed(SEQUENCES, layers, pool=None)
    want = direct("my-slug").embed(SEQUENCES, layers, pool=None)
    assert len(got) == len(want)
    for own, expected in zip(got, want, strict=True):
        close(own, expected)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_encode_gives_every_output_at_every_layer_to_the_last_bit(client, direct, sequence):
    [own] = client.encode([sequence], KINDS, range(4))
    [want] = direct("my-slug").encode([sequence], KINDS, range(4))
    for kind in ("mean", "per_token", "bos"):
        got, expected = getattr(own, kind), getattr(want, kind)
        assert list(got) == list(expected) == [0, 1, 2, 3]
        for layer in got:
            same(got[layer], expected[layer])
    for kind in ("logits", "contacts", "attentions"):
        same(getattr(own, kind), getattr(want, kind))


def test_encode_gives_the_mean_alone_when_not_asked_for_more(client, direct):
    [own] = client.encode([PROTEIN])
    same(own.mean[3], direct("my-slug").encode([PROTEIN])[0].mean[3])
    assert list(own.mean) == [3]
    assert (own.per_token, own.bos) == ({}, {})
    assert (own.logits, own.contacts, own.attentions) == (None, None, None)


def test_predict_gives_the_logits_of_the_model(client, direct):
    masked = ["M<mask>", "<mask>" * 3, f"{PROTEIN}<mask>-<mask>"]
    for own, want in zip(client.predict(masked), direct("my-slug").predict(masked), strict=True):
        close(own, want)
    same(client.predict(masked[:1])[0], direct("my-slug").predict(masked[:1])[0])


def test_log_prob_is_that_of_the_model(client, direct):
    close(client.log_prob(SEQUENCES), direct("my-slug").log_prob(SEQUENCES))
    same(client.log_prob([PROTEIN]), direct("my-slug").log_prob([PROTEIN]))


def test_more_sequences_than_a_request_may_hold_come_in_order(client, direct):
    assert len(MANY) > 3 * 8
    close(client.embed(MANY), direct("my-slug").embed(MANY))
    got = [len(own.logits) for own in client.encode(MANY, ["logits"])]
    assert got == [len(sequence) for sequence in MANY]


def test_no_sequences_have_no_outputs(client):
    assert client.embed([]).shape == (0, 48)
    assert client.embed([], layers=(0, 1)).shape == (0, 2, 48)
    assert client.embed([], pool=None) == []
    assert client.encode([]) == []
    assert client.predict([]) == []
    assert client.log_prob([]).shape == (0,)


def test_the_client_knows_what_it_talks_to(client, direct):
    assert client.decided == direct("my-slug").decided


# --- ways to use it ----------------------------------------------------------------------------


def test_the_asynchronous_client_gives_the_same(server, direct):
    async def ask():
        async with AsyncClient(server.url, model="my-slug") as own:
            assert (await own.decided()).slug == "my-slug"
            return await asyncio.gather(
                own.embed(MANY),
                own.encode([PROTEIN]),
                own.predict(["M<mask>"]),
                own.log_prob(["M"]),
            )

    embedded, [encoded], [predicted], log_prob = asyncio.run(ask())
    model = direct("my-slug")
    close(embedded, model.embed(MANY))
    close(encoded.mean[3], model.encode([PROTEIN])[0].mean[3])
    close(predicted, model.predict(["M<mask>"])[0])
    assert log_prob.shape == (1,)


def test_the_client_works_where_a_loop_runs_already_as_in_a_notebook(client, direct):
    async def cell():
        return client.embed([PROTEIN])

    same(asyncio.run(cell()), direct("my-slug").embed([PROTEIN]))


def test_threads_may_share_a_client(client, direct):
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda sequence: client.embed([sequence]), SEQUENCES))
    close(np.concatenate(got), direct("my-slug").embed(SEQUENCES))


def test_sequences_may_come_from_an_iterator(client):
    close(client.embed(iter(SEQUENCES)), client.embed(SEQUENCES))


@pytest.mark.parametrize("name", ["MY-SLUG", "8m", "facebook/esm2_t6_8M_UR50D"])
def test_a_model_has_many_names(server, name):
    with Client(server.url, model=name) as own:
        assert own.decided.slug == ("my-slug" if name == "MY-SLUG" else "esm2-8m")


def test_progress_is_shown_on_standard_error_when_asked_for(client, capfd):
    client.embed(SEQUENCES)
    assert capfd.readouterr() == ("", "")
    client.embed(SEQUENCES, progress=True)
    shown = capfd.readouterr()
    assert "5/5" in shown.err
    assert shown.out == ""


def test_looking_at_the_client_loads_no_torch_and_no_server():
    code = (
        "import sys, esm2.client, json;"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = set(json.loads(done.stdout))
    assert {"esm2", "numpy", "httpx2"} <= loaded
    assert loaded & {"torch", "fastapi", "uvicorn", "pydantic", "orjson", "safetensors"} == set()


# --- tokens and limits -------------------------------------------------------------------------


def test_a_token_lets_in_and_small_limits_are_kept(guarded, direct):
    """At most 3 items, 300 residues and 4096 bytes a request."""
    sequences = [(PROTEIN * 14)[: 270 + number] for number in range(20)]
    with Client(guarded.url, TOKEN, model="my-slug") as own:
        close(own.embed(sequences), direct("my-slug").embed(sequences))


@pytest.mark.parametrize(
    ("token", "told"),
    [(None, r"\(here: the argument token\)$"), ("wrong", "Invalid token; .*one$")],
)
def test_without_a_good_token_there_is_no_answer(guarded, token, told):
    with (
        Client(guarded.url, token, model="my-slug") as own,
        pytest.raises(Unauthenticated, match=told) as caught,
    ):
        own.embed([PROTEIN])
    assert caught.value.code == "auth.unauthenticated"


def test_a_token_is_in_no_log_and_no_text(guarded, caplog):
    caplog.set_level(logging.DEBUG)
    with Client(guarded.url, TOKEN, model="my-slug") as own:
        own.embed([PROTEIN])
        assert TOKEN not in repr(own)
        assert repr(own) == f"Client({guarded.url!r}, model='my-slug')"
    assert "httpcore2" in " ".join(record.name for record in caplog.records)
    assert TOKEN not in caplog.text


def _asked_to_encode(server):
    figures = server.get("/metrics").body.decode().splitlines()
    return [own for own in figures if own.startswith('esm2_requests_total{action="encode"')]


def test_every_sequence_that_cannot_be_used_is_named_before_anything_is_sent(guarded):
    sequences = ["MKT", "MKt", "GG", "", "M" * 301, "M<mask>"]
    before = _asked_to_encode(guarded)
    with (
        Client(guarded.url, TOKEN, model="my-slug") as own,
        pytest.raises(InvalidRequest) as caught,
    ):
        own.embed(sequences)
    assert _asked_to_encode(guarded) == before
    faults = caught.value.faults
    assert list(faults) == [f"sequences[{index}]" for index in (1, 3, 4, 5)]
    assert "residue 3 is 't'" in faults["sequences[1]"][0]
    assert "has 301 residues, the limit here is 300" in faults["sequences[4]"][0]
    assert caught.value.code == "request.invalid"


# --- refusals ----------------------------------------------------------------------------------


def test_a_fault_that_only_the_server_sees_is_told_as_the_server_told_it(client):
    request = ForwardRequest(tokenize("M<mask>"), Want(layers=(3,), mean=True))
    with pytest.raises(MaskNotAllowed, match="residue 2 is <mask>") as caught:
        client.submit(request).result()
    assert caught.value.code == "request.mask_not_allowed"
    cause = caught.value.__cause__
    assert isinstance(cause, InvalidRequest)
    assert list(cause.faults) == ["sequences[0]"]


def test_a_request_like_a_batchers_gives_outputs(client, direct):
    want = Want(layers=(0, 3), mean=True, bos=True)
    own = client.submit(ForwardRequest(tokenize(PROTEIN), want)).result()
    [expected] = direct("my-slug").encode([PROTEIN], ["mean", "bos"], [0, 3])
    for layer in (0, 3):
        same(own.mean[layer], expected.mean[layer])
        same(own.bos[layer], expected.bos[layer])
    assert own.per_token == {}


def test_a_layer_that_the_model_does_not_have(client):
    with pytest.raises(LayerOutOfRange, match="layer 4 does not exist") as caught:
        client.embed([PROTEIN], layers=[4])
    assert caught.value.layers == 3


def test_contacts_of_a_model_without_a_contact_head(server):
    with Client(server.url, model="headless") as own:
        with pytest.raises(ContactsUnavailable):
            own.encode([PROTEIN], ["contacts"])
        assert own.encode([PROTEIN], ["bos"])[0].bos


def test_a_model_that_nobody_knows(server):
    with (
        Client(server.url, model="my-slig") as own,
        pytest.raises(UnknownModel, match="did you mean my-slug") as caught,
    ):
        own.embed([PROTEIN])
    assert caught.value.nearest == ("my-slug",)


def test_a_model_that_is_not_served_there(server):
    with (
        Client(server.url, model="esm2-650m") as own,
        pytest.raises(ModelNotServed, match="esm2-650m is not served here"),
    ):
        own.embed([PROTEIN])


def test_a_model_has_to_be_named_where_there_are_several(server):
    with (
        Client(server.url) as own,
        pytest.raises(SettingsError, match=r"my-slug, esm2-8m, .*model='my-slug'"),
    ):
        own.embed([PROTEIN])


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda own: own.embed(PROTEIN), TypeError, "one str"),
        (lambda own: own.predict([5]), TypeError, r"sequences\[0\] is int"),
        (lambda own: own.embed([PROTEIN], pool="sum"), ValueError, "pool is 'sum'"),
        (lambda own: own.embed([PROTEIN], layers=[]), ValueError, "layers is empty"),
        (lambda own: own.encode([PROTEIN], "mean"), ValueError, "include is 'mean'"),
        (lambda own: own.encode([PROTEIN], ["means"]), ValueError, "include is"),
        (lambda own: own.encode([PROTEIN], []), ValueError, "include is"),
    ],
)
def test_a_slip_of_the_program_is_told_as_python_tells_it(client, ask, error, message):
    with pytest.raises(error, match=message):
        ask(client)


def test_single_outputs_are_those_of_encode(client):
    for kind in ("contacts", "attentions", "logits"):
        for got, whole in zip(
            getattr(client, kind)(SEQUENCES), client.encode(SEQUENCES, include=[kind]), strict=True
        ):
            close(got, getattr(whole, kind))


def test_masks_are_filled_as_in_this_process(client):
    masked = "MKT<mask>YI<mask>KQR"
    (logits,) = client.predict([masked])
    first, second = client.fill_mask(masked, top_k=3)
    assert [guess.position for guess in (*first, *second)] == [4, 4, 4, 7, 7, 7]
    for guesses, row in ((first, logits[3]), (second, logits[6])):
        probabilities = np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum()
        best = np.argsort(-probabilities)[:3]
        assert [guess.residue for guess in guesses] == [AMINO_ACIDS[place] for place in best]
        assert [guess.probability for guess in guesses] == pytest.approx(probabilities[best])
    with pytest.raises(ValueError, match="top_k is 21"):
        client.fill_mask(masked, top_k=21)


# --- an event loop of its own ------------------------------------------------------------------


def test_an_async_client_in_another_event_loop_says_that_each_has_its_own(server):
    client = AsyncClient(server.url, model="my-slug")
    with asyncio.Runner() as own:
        assert own.run(client.embed(["MKT"])).shape[0] == 1
        for again in (lambda: client.embed(["MKT"]), client.aclose):
            with pytest.raises(RuntimeError, match="another event loop: make one client for each"):
                asyncio.run(again())
        own.run(client.aclose())


def test_an_async_client_may_be_made_before_its_loop_runs_and_asked_many_things_there(server):
    client = AsyncClient(server.url, model="my-slug", connections=1)

    async def several():
        async with client:
            return await asyncio.gather(*(client.embed([PROTEIN]) for _ in range(3)))

    one, *others = asyncio.run(several())
    for other in others:
        close(other, one)


def test_what_is_no_list_of_sequences_is_refused_before_anything_is_asked(client):
    for wrong in ({"SPIKE": "MKT"}, "MKT", b"MKT", {"MKT"}, None, [None]):
        for ask in (client.embed, client.encode, client.predict, client.log_prob):
            with pytest.raises(TypeError, match=r"^sequences"):
                ask(wrong)
        with pytest.raises(TypeError, match=r"^variants"):
            client.score_variants("MKT", wrong)


def test_outputs_are_read_by_the_layer_that_was_asked_for(client):
    [outputs] = client.encode(["MKT"], layers=-1)
    same(outputs.mean[-1], client.embed(["MKT"], layers=-1)[0])
