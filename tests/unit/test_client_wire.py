"""The pure half of `esm2.client`: arguments -> requests, replies -> arrays or errors, patience."""

import gzip
import io
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from esm2 import errors
from esm2.catalog import DEMO_SLUG, Shape
from esm2.client import wire
from esm2.client.address import address, on_this_machine
from esm2.client.batches import batches, checked
from esm2.client.refusals import error_of, of_its_only_item
from esm2.client.retry import Retry, seconds_asked
from esm2.client.wire import Info, Item, Limits, Reply
from esm2.errors import (
    InvalidRequest,
    ModelNotServed,
    Refused,
    SettingsError,
    UnexpectedReply,
    UnknownModel,
)
from esm2.types import Decided, Want

LIMITS = Limits(max_items=3, max_residues=20, max_body_bytes=4096)
SHAPE = Shape(layers=2, dim=4, heads=2)


def decided(slug):
    return Decided(slug, SHAPE, "cpu", "float32", "none", "a" * 64, "custom", True, 4096, 2)


# --- requests ----------------------------------------------------------------------------------


def content_in(call):
    packed = call.headers.get("Content-Encoding") == "gzip"
    return json.loads(gzip.decompress(call.body) if packed else call.body)


def test_a_question_is_a_post_to_the_api_that_wants_arrays():
    params = wire.params_of(Want(layers=(0, 2), mean=True, contacts=True))
    call = wire.asking("my-slug", "encode", ["MKT", "GG"], params)
    assert (call.method, call.path) == ("POST", "/api/v3/my-slug/encode/")
    assert call.headers["Accept"] == "application/x-npz"
    assert call.headers["Content-Type"] == "application/json"
    assert content_in(call) == {
        "items": [{"sequence": "MKT"}, {"sequence": "GG"}],
        "params": {"include": ["mean", "contacts"], "repr_layers": [0, 2]},
    }


def test_params_that_nobody_gave_are_not_sent():
    assert content_in(wire.asking("x", "predict", ["M"], {})) == {"items": [{"sequence": "M"}]}
    assert wire.params_of(Want(logits=True)) == {"include": ["logits"]}


@pytest.mark.parametrize(("size", "packed"), [(256, False), (257, True)])
def test_a_body_above_256_bytes_is_gzip(size, packed):
    content = {"items": "M" * (size - len('{"items":""}'))}
    call = wire.post("/", content, wire.JSON)
    assert ("Content-Encoding" in call.headers) is packed
    assert content_in(call) == content
    assert len(call.body) == size if not packed else len(call.body) < size


def test_the_token_is_shown_as_biolms_clients_show_it():
    assert wire.authorization("secret") == {"Authorization": "Token secret"}
    assert wire.authorization(None) == {}


# --- sequences and batches ---------------------------------------------------------------------


def test_batches_hold_at_most_max_items_neighbours_in_order():
    proteins = checked(["M" * n for n in range(1, 9)], "none", LIMITS)
    made = list(batches(proteins, {}, lambda: LIMITS))
    assert [batch.first for batch in made] == [0, 3, 6]
    assert [len(batch.proteins) for batch in made] == [3, 3, 2]
    assert [s for batch in made for s in batch.sequences] == ["M" * n for n in range(1, 9)]


@pytest.mark.parametrize("room", [150, 400, 1000])
def test_no_body_is_larger_than_the_server_takes(room):
    limits = Limits(max_items=100, max_residues=50, max_body_bytes=room)
    params = wire.params_of(Want(layers=(0, 1, 2), mean=True, bos=True))
    proteins = checked(["M" * (1 + n * 7 % 50) for n in range(60)], "none", limits)
    made = list(batches(proteins, params, lambda: limits))
    sizes = [
        len(gzip.decompress(call.body)) if "Content-Encoding" in call.headers else len(call.body)
        for call in (wire.asking("x", "encode", batch.sequences, params) for batch in made)
    ]
    assert max(sizes) <= room
    assert sum(len(batch.proteins) for batch in made) == 60
    assert len(made) <= 2 + 2 * sum(sizes) // room  # and none is needlessly small


def test_a_sequence_that_is_too_large_for_a_body_travels_alone():
    limits = Limits(max_items=8, max_residues=9000, max_body_bytes=1024)
    made = batches(checked(["M", "M" * 5000, "M"], "none", limits), {}, lambda: limits)
    assert [len(batch.proteins) for batch in made] == [1, 1, 1]


def test_every_faulty_sequence_is_named_with_what_is_wrong():
    with pytest.raises(InvalidRequest) as caught:
        checked(["MK", "m", "", "M" * 21, "M<mask>"], "none", LIMITS)
    assert list(caught.value.faults) == [f"sequences[{index}]" for index in (1, 2, 3, 4)]
    assert caught.value.code == "request.invalid"


def test_faults_of_one_kind_have_the_code_of_that_kind():
    with pytest.raises(InvalidRequest) as caught:
        checked(["MK", "M<mask>"], "some", LIMITS)
    assert caught.value.code == "request.mask_missing"
    assert list(caught.value.faults) == ["sequences[0]"]


def test_a_mask_is_one_residue():
    [protein] = checked(["<mask>" * 20], "some", LIMITS)
    assert protein.residues == 20


# --- replies -----------------------------------------------------------------------------------


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return Reply(200, {"content-type": "application/x-npz"}, file.getvalue())


def test_the_arrays_of_an_item_become_its_outputs():
    want = Want(
        layers=(0, 2),
        **dict.fromkeys(("mean", "per_token", "bos", "logits", "contacts", "attentions"), True),
    )
    shapes = {f"1.{kind}.{n}": (4,) for kind in ("mean", "bos") for n in (0, 2)}
    shapes |= {f"1.per_token.{n}": (5, 4) for n in (0, 2)}
    shapes |= {"1.logits": (5, 20), "1.contacts": (5, 5), "1.attentions": (2, 5)}
    sent = {
        name: np.full(shape, place, np.float32)
        for place, (name, shape) in enumerate(shapes.items())
    }
    arrays = wire.arrays_in(npz(**sent), decided("x"))
    got = Item(arrays, 1, 5, SHAPE).encoded(want)
    for kind in ("mean", "per_token", "bos"):
        for layer in (0, 2):
            np.testing.assert_array_equal(getattr(got, kind)[layer], sent[f"1.{kind}.{layer}"])
    for kind in ("logits", "contacts", "attentions"):
        np.testing.assert_array_equal(getattr(got, kind), sent[f"1.{kind}"])


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_arrays_that_were_cut_are_refused(cut):
    whole = npz(**{"0.mean.2": np.zeros(4, np.float32)})
    reply = Reply(200, whole.headers, whole.body[:-cut])
    with pytest.raises(UnexpectedReply, match="are damaged"):
        wire.arrays_in(reply, decided("x"))


def test_arrays_with_a_byte_changed_are_refused_or_still_the_same():
    """What zip itself does not look at, such as the time of a member, may change."""
    whole, refused = npz(**{"0.mean.2": np.arange(4, dtype=np.float32)}), 0
    for place in range(len(whole.body)):
        for change in (0x01, 0x55, 0xFF):
            body = bytearray(whole.body)
            body[place] ^= change
            try:
                arrays = wire.arrays_in(Reply(200, whole.headers, bytes(body)), decided("x"))
                got = Item(arrays, 0, 5, SHAPE).array("mean", 2)
            except UnexpectedReply:
                refused += 1
            else:
                np.testing.assert_array_equal(got, [0, 1, 2, 3])
    assert refused > len(whole.body)


@pytest.mark.parametrize(
    "array", [np.zeros(5, np.float32), np.zeros((1, 4), np.float32), np.zeros(4, np.int32)]
)
def test_an_array_of_another_shape_or_dtype_is_refused(array):
    item = Item({"0.mean.2": array}, 0, 5, SHAPE)
    with pytest.raises(UnexpectedReply, match=r"as 0\.mean\.2, not float32 \(4,\)"):
        item.array("mean", 2)


# --- errors ------------------------------------------------------------------------------------

#: Those whose code is theirs alone: InvalidRequest has its faults', Refused any.
RETOLD = [
    kind
    for kind in (getattr(errors, name) for name in errors.__all__)
    if kind not in (InvalidRequest, Refused)
]


@pytest.mark.parametrize("kind", RETOLD, ids=lambda kind: kind.__name__)
def test_a_refusal_is_of_the_class_with_its_code(kind):
    error = error_of(400, {"error": "what happened there", "code": kind.code})
    assert type(error) is kind
    assert (str(error), error.code) == ("what happened there", kind.code)


def test_faults_keep_their_code_and_messages_and_are_told_at_the_callers_place():
    said = {
        "items__1__sequence": ["residue 3 is 'J'", "and more"],
        "params__repr_layers__0": ["layer 9 does not exist"],
    }
    error = error_of(400, {"error": said, "code": "request.invalid"}, first=8)
    assert type(error) is InvalidRequest
    assert error.code == "request.invalid"
    assert error.faults == {
        "sequences[9]": ["residue 3 is 'J'", "and more"],
        "params__repr_layers__0": ["layer 9 does not exist"],
    }
    assert str(error).startswith("sequences[9]: residue 3 is 'J', and more; params__repr_layers__0")


def test_a_code_of_tomorrow_is_kept():
    error = error_of(418, {"error": "I am a teapot", "code": "tea.pot"})
    assert type(error) is Refused
    assert (str(error), error.code, error.status) == ("I am a teapot", "tea.pot", 418)


@pytest.mark.parametrize(
    "content", [None, [], "no", {}, {"error": "no"}, {"code": "x"}, {"error": 5, "code": "x"}]
)
def test_what_is_no_refusal_of_ours_is_called_so(content):
    assert type(error_of(500, content)) is UnexpectedReply


def test_the_fault_of_an_only_item_becomes_an_error_of_its_class():
    fault = {"items__0__sequence": ["residue 1 is 'j'"]}
    error = of_its_only_item(error_of(400, {"error": fault, "code": "request.invalid_sequence"}))
    assert type(error) is errors.InvalidSequence
    assert str(error) == "residue 1 is 'j'"
    two = error_of(400, {"error": fault | {"params": ["x"]}, "code": "request.invalid"})
    assert of_its_only_item(two) is two


# --- what a server says of itself --------------------------------------------------------------


def info(*slugs):
    return Info(LIMITS, {slug: decided(slug) for slug in slugs})


@pytest.mark.parametrize(
    ("slugs", "name", "found"),
    [
        (["esm2-650m", DEMO_SLUG], "650M", "esm2-650m"),
        (["esm2-650m", DEMO_SLUG], DEMO_SLUG, DEMO_SLUG),
        (["mine", DEMO_SLUG], "MINE", "mine"),
        (["mine", DEMO_SLUG], None, "mine"),
        ([DEMO_SLUG], None, DEMO_SLUG),
    ],
)
def test_a_model_is_found_by_any_name_or_by_being_the_only_one(slugs, name, found):
    assert info(*slugs).model(name).slug == found


@pytest.mark.parametrize(
    ("slugs", "name", "error"),
    [
        (["mine", DEMO_SLUG], "esm2-650m", ModelNotServed),
        (["mine", DEMO_SLUG], "nobody's", UnknownModel),
        (["mine", "yours", DEMO_SLUG], None, SettingsError),
        ([], None, ModelNotServed),
    ],
)
def test_a_model_that_is_not_there_or_not_clear_is_not_guessed(slugs, name, error):
    with pytest.raises(error):
        info(*slugs).model(name)


# --- patience ----------------------------------------------------------------------------------


def test_pauses_double_up_to_the_longest_and_are_half_left_to_chance():
    high = Retry(first=0.5, longest=30, chance=lambda: 1.0)
    low = Retry(first=0.5, longest=30, chance=lambda: 0.0)
    doubling = [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [high.pause(n, 0, None) for n in range(1, 9)] == doubling
    assert [low.pause(n, 0, None) for n in range(1, 9)] == [pause / 2 for pause in doubling]


def test_attempts_and_waiting_end():
    retry = Retry(attempts=3, total=10, first=4, longest=8, chance=lambda: 1.0)
    assert retry.pause(2, 0, None) == 8
    assert retry.pause(3, 0, None) is None
    assert retry.pause(1, 6, None) == 4
    assert retry.pause(1, 6.1, None) is None


def test_a_server_is_never_asked_before_it_said():
    retry = Retry(total=100, first=1, chance=lambda: 0.5)
    assert retry.pause(1, 0, 20) == 20.5
    assert retry.pause(1, 0, 0) == 0.5
    assert retry.pause(1, 90, 20) is None


def test_a_thousand_failures_are_still_a_number():
    assert Retry(attempts=10_000, chance=lambda: 1.0).pause(5000, 0, None) == 30


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("Mon, 23 Nov 2026 12:01:30 GMT", 90),
        ("Mon, 23 Nov 2026 12:01:30 -0000", 90),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("\u0663", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header, seconds):
    assert seconds_asked(header, NOW) == seconds
    assert NOW + timedelta(seconds=seconds or 0) >= NOW


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://lab.example/esm2/", "https://lab.example/esm2"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_is_read(url, read):
    assert address(url) == read


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8000", "localhost:8000", "ftp://a", "http://", "http://a b", "http://a\n"),
        *("http://a:x", "http://a:99999", "http://[::1", "http://user:secret@a", "http://a?b=c"),
        *("http://a#b", "http://\u0430"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_a_password(url):
    with pytest.raises(SettingsError) as caught:
        address(url)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.8.8.8", True),
        ("http://[::1]:8000", True),
        ("http://localhost:8000", True),
        ("http://10.0.0.1", False),
        ("http://lab.example", False),
        ("http://127.0.0.1.example", False),
    ],
)
def test_this_machine_is_known_by_its_addresses(url, here):
    assert on_this_machine(url) is here
