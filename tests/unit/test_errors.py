"""The error tree: codes that never change, the tree as drawn, messages of one sentence."""

import copy
import inspect
import multiprocessing
import pickle
import re
from pathlib import Path

import pytest

from esm2 import errors
from esm2.errors import Esm2Error

SHA, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"

#: class -> (its code, what it is made of). Codes are read by programs: a line of this table is
#: added, never changed. InvalidRequest has the code of its faults, and without one its parent's.
TABLE = {
    "Esm2Error": ("error", ("something failed",)),
    "RequestError": ("request.invalid", ("no record could be used",)),
    "EmptySequence": ("request.empty_sequence", ()),
    "InvalidSequence": ("request.invalid_sequence", (2, "\n")),
    "SequenceTooLong": ("request.sequence_too_long", (3000, 2048)),
    "DoesNotFit": ("request.does_not_fit", (9000, 4000, "contacts")),
    "ReplyTooLarge": ("request.reply_too_large", (2_000_000_000, 1_000_000_000, 3)),
    "InvalidHeader": ("request.invalid_header", ("X-ESM2-Timeout", "a number of seconds")),
    "MaskNotAllowed": ("request.mask_not_allowed", (4,)),
    "MaskMissing": ("request.mask_missing", ()),
    "LayerOutOfRange": ("request.layer_out_of_range", (7, 6)),
    "HeadOutOfRange": ("request.head_out_of_range", (20, 20)),
    "ContactsUnavailable": ("request.contacts_unavailable", ("my-slug",)),
    "LogitsUnavailable": ("request.logits_unavailable", ("my-slug",)),
    "TooManyItems": ("request.too_many_items", (9, 8)),
    "InvalidRequest": ("request.invalid", ({"items__0__sequence": ["it is empty"]},)),
    "NotJson": ("request.not_json", ("a comma is missing at byte 7",)),
    "BodyTooLarge": ("request.body_too_large", (16777216,)),
    "UnsupportedEncoding": ("request.unsupported_encoding", ("br is not gzip",)),
    "InvalidFasta": ("request.invalid_fasta", ("a.fasta", 3, "no record")),
    "InvalidStructure": ("request.invalid_structure", ("a.pdb", "it has no chain B")),
    "InvalidVariant": ("request.invalid_variant", ("A24\n", "it is no substitution")),
    "OffsetNotFound": ("request.offset_not_found", ([], 23, 9, 10, ["A24G"])),
    "InvalidTable": ("request.invalid_table", ("a.csv", 3, "it has no column 'mutant'")),
    "TooManySubstitutions": ("request.too_many_substitutions", (20_001, 20_000)),
    "TooMuchWork": ("request.too_much_work", (5_000_000, 4_000_000, "tokens")),
    "NotAcceptable": (
        "request.not_acceptable",
        ("application/x-npz with dtype 'int8'", ["float32", "float16"]),
    ),
    "Moved": ("http.moved", ("/api/v2/esm2-8m/encode/",)),
    "BeyondFloat16": ("request.beyond_float16", ("0.mean.33",)),
    "UnknownModel": ("model.unknown", ("esm2\n650", ["esm2-650m"], ["esm2-8m", "esm2-650m"])),
    "ModelNotServed": ("model.not_served", ("esm2-650m", ["esm2-demo"])),
    "WeightsMissing": ("model.weights_missing", ("esm2-650m", ["/cache"])),
    "NoReference": ("model.no_reference", ("esm2-demo", ["esm2-8m", "esm2-650m"])),
    "CheckpointError": ("checkpoint.invalid", ("/a/path", "missing tensor x")),
    "HubError": ("hub.failed", ("the hub answered 500",)),
    "HubUnreachable": ("hub.unreachable", ("no answer",)),
    "HashMismatch": ("hub.hash_mismatch", ("/a/path", SHA, OTHER)),
    "Unauthenticated": ("auth.unauthenticated", ("no token",)),
    "Forbidden": ("auth.forbidden", ("score", ["encode", "predict"])),
    "ForeignHost": ("auth.foreign_host", ("evil.example",)),
    "ForeignOrigin": ("auth.foreign_origin", ("http://evil.example",)),
    "RateLimited": ("auth.rate_limited", (5000, 12)),
    "TokensUnavailable": ("auth.unavailable", ("the token database cannot be reached",)),
    "BodyTimeout": ("request.body_timeout", (120.0,)),
    "BeyondBudget": ("request.beyond_budget", (6000, 5000)),
    "Overloaded": ("service.overloaded", (4_000_000, 4_000_000)),
    "DeadlineExceeded": ("service.deadline_exceeded", (1.5,)),
    "ModelUnavailable": ("service.model_unavailable", ("my-slug", "its weights changed", 4)),
    "ShuttingDown": ("service.shutting_down", ()),
    "EngineError": ("engine.failed", ("out of memory",)),
    "NotFinite": ("engine.not_finite", ("logits",)),
    "EngineLost": ("engine.lost", ("the process is gone",)),
    "EngineCrashed": ("engine.crashed", ("my-slug", "signal 9")),
    "EngineHung": ("engine.hung", ("my-slug", 60.0)),
    "ServerUnreachable": ("server.unreachable", ("http://127.0.0.1:8000", "it hung up")),
    "UnexpectedReply": ("server.unexpected_reply", ("the reply is HTML",)),
    "Refused": ("server.refused", ("the server failed", 500)),
    "FileError": ("file.failed", ("/a/path", "write", "no space left on device")),
    "CannotResume": ("file.cannot_resume", ("/a/path", ["layers was 6 and is 5"])),
    "SettingsError": ("settings.invalid", ("port: too large",)),
    "MissingExtra": ("settings.missing_extra", ("torch", "torch")),
}
#: What files, commands and clients raise, and a server that runs never answers.
NOT_ANSWERED = {
    *("Esm2Error", "InvalidFasta", "InvalidStructure", "InvalidTable", "OffsetNotFound"),
    *("WeightsMissing", "NoReference", "CheckpointError", "HubError", "HubUnreachable"),
    *("HashMismatch", "ServerUnreachable", "UnexpectedReply", "Refused", "FileError"),
    *("CannotResume", "SettingsError", "MissingExtra", "HeadOutOfRange"),
}
CLASSES = dict(inspect.getmembers(errors, inspect.isclass))
NAMES = sorted(TABLE)


def make(name):
    return CLASSES[name](*TABLE[name][1])


def test_the_table_has_every_class_and_all_of_them_are_exported():
    assert set(CLASSES) == set(TABLE) == set(errors.__all__)
    assert all(issubclass(kind, Esm2Error) for kind in CLASSES.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_code_never_changes(name):
    assert CLASSES[name].code == TABLE[name][0]
    assert make(name).code == TABLE[name][0]


def test_every_code_is_that_of_one_class():
    codes = [CLASSES[name].code for name in NAMES if name != "InvalidRequest"]
    assert len(codes) == len(set(codes))


def test_the_page_about_http_names_every_code_that_a_server_answers():
    page = (Path(__file__).parents[2] / "docs/http-api.md").read_text()
    named = set(re.findall(r"`([a-z]+\.[a-z0-9_]+)`", page))
    assert {TABLE[name][0] for name in CLASSES.keys() - NOT_ANSWERED} <= named


def test_a_request_with_one_kind_of_fault_has_the_code_of_that_fault():
    faults = {"items__0__sequence": ["empty"], "items__1__sequence": ["empty"]}
    assert errors.InvalidRequest(faults, "request.empty_sequence").code == "request.empty_sequence"
    assert errors.InvalidRequest(faults).code == errors.RequestError.code


def test_the_tree_of_the_docstring_is_the_tree_of_the_classes():
    drawn, path = {}, {0: "Esm2Error"}
    for line in errors.__doc__.splitlines():
        branch = re.match(r" {4}([│ ]*)[├└]── (.*)", line)
        if branch:
            depth = len(branch[1]) // 4 + 1
            names = [word for word in branch[2].split() if word in CLASSES]
            drawn |= dict.fromkeys(names, path[depth - 1])
            path[depth] = names[0]
    parents = {name: kind.__base__.__name__ for name, kind in CLASSES.items()}
    assert drawn == {name: parent for name, parent in parents.items() if name != "Esm2Error"}


@pytest.mark.parametrize("name", NAMES)
def test_a_message_is_one_sentence_on_one_line(name):
    message = str(make(name))
    assert message
    assert message.isprintable()
    assert message == message.strip()
    assert not re.search(r"[.!?] +[A-Z]", message)
    assert not message.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_class_says_what_it_stands_for(name):
    assert CLASSES[name].__doc__


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("InvalidSequence", {"position": 2, "letter": "\n"}),
        ("SequenceTooLong", {"length": 3000, "limit": 2048}),
        ("MaskNotAllowed", {"position": 4}),
        ("LayerOutOfRange", {"layer": 7, "layers": 6}),
        ("ContactsUnavailable", {"name": "my-slug"}),
        ("LogitsUnavailable", {"name": "my-slug"}),
        ("TooManyItems", {"count": 9, "limit": 8}),
        ("InvalidRequest", {"faults": {"items__0__sequence": ["it is empty"]}}),
        ("BodyTooLarge", {"limit": 16777216}),
        (
            "InvalidFasta",
            {"source": "a.fasta", "line": 3, "reason": "no record"},
        ),
        ("InvalidStructure", {"source": "a.pdb", "reason": "it has no chain B"}),
        ("InvalidVariant", {"variant": "A24\n", "reason": "it is no substitution"}),
        ("OffsetNotFound", {"fitting": (), "best": 23, "matching": 9, "total": 10}),
        ("InvalidTable", {"source": "a.csv", "line": 3}),
        ("TooManySubstitutions", {"count": 20_001, "limit": 20_000}),
        ("TooMuchWork", {"needed": 5_000_000, "limit": 4_000_000, "unit": "tokens"}),
        ("UnknownModel", {"name": "esm2\n650", "nearest": ("esm2-650m",)}),
        ("ModelNotServed", {"slug": "esm2-650m"}),
        ("WeightsMissing", {"slug": "esm2-650m", "places": ("/cache",)}),
        ("NoReference", {"slug": "esm2-demo"}),
        ("CheckpointError", {"path": "/a/path", "reason": "missing tensor x"}),
        ("HashMismatch", {"path": "/a/path", "expected": SHA, "found": OTHER}),
        ("Overloaded", {"queued": 4_000_000, "limit": 4_000_000}),
        ("NotFinite", {"output": "logits"}),
        ("ServerUnreachable", {"url": "http://127.0.0.1:8000"}),
        ("UnexpectedReply", {"reason": "the reply is HTML"}),
        ("Refused", {"status": 500}),
        ("FileError", {"path": "/a/path", "reason": "no space left on device"}),
        ("MissingExtra", {"package": "torch", "extra": "torch"}),
    ],
)
def test_an_error_keeps_its_data(name, data):
    error = make(name)
    assert {key: getattr(error, key) for key in data} == data


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("EmptySequence", "send at least one residue"),
        ("SequenceTooLong", "shorten it, or raise"),
        ("MaskNotAllowed", "use predict"),
        ("TooManyItems", "send several requests"),
        ("BodyTooLarge", "send fewer or shorter sequences"),
        ("TooManySubstitutions", "send several requests"),
        ("TooMuchWork", "send fewer sequences"),
        ("UnknownModel", "did you mean esm2-650m?"),
        ("ModelNotServed", "esm2 fetch esm2-650m"),
        ("WeightsMissing", "esm2 fetch esm2-650m"),
        ("HashMismatch", "delete it and fetch it again"),
        ("Overloaded", "try again in"),
        ("ShuttingDown", "try again later"),
        ("ServerUnreachable", "is `esm2 serve` running there?"),
        ("UnexpectedReply", "is this the address of an esm2 server?"),
        ("MissingExtra", "'torch>=2.6'"),
    ],
)
def test_a_message_says_what_to_do(name, advice):
    assert advice in str(make(name))


def test_where_one_package_is_enough_no_other_is_named():
    for package, extra in (("huggingface_hub", "torch"), ("sqlalchemy", "server")):
        said = str(errors.MissingExtra(package, extra, alone=True))
        assert re.fullmatch(rf"this needs {package}: pip install '{package[:7]}[^' ]+'", said)


def test_a_residue_is_counted_from_one_for_people_and_from_zero_for_programs():
    error = errors.InvalidSequence(2, "J")
    assert error.position == 2
    assert "residue 3 is 'J'" in str(error)


def test_a_name_that_means_nothing_is_cut_and_the_known_ones_are_told():
    error = errors.UnknownModel("x" * 1000, [], ["esm2-demo", "esm2-8m"])
    assert len(str(error)) < 200
    assert "known: esm2-demo, esm2-8m" in str(error)


def classes_below(kind):
    return [kind, *(own for child in kind.__subclasses__() for own in classes_below(child))]


def test_the_table_has_every_class_wherever_it_is_defined():
    ours = {kind for kind in classes_below(Esm2Error) if kind.__module__.startswith("esm2.")}
    assert {kind.__name__ for kind in ours} == set(TABLE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sent",
    [
        *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in range(6)),
        copy.copy,
        copy.deepcopy,
        Esm2Error.again,
    ],
)
def test_an_error_is_the_same_in_another_place_with_its_fields_and_its_text(name, sent):
    error = make(name)
    error.add_note("seen in a worker")
    other = sent(error)
    assert type(other) is type(error)
    assert other is not error
    assert (str(other), other.args, other.code) == (str(error), error.args, error.code)
    assert vars(other) == vars(error)


def refuse(name):
    raise make(name)


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_refusal_in_a_pool_reaches_its_parent(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        for name in ("InvalidSequence", "InvalidRequest", "CannotResume", "MissingExtra"):
            with pytest.raises(CLASSES[name]) as caught:
                pool.apply_async(refuse, (name,)).get(60)
            assert vars(caught.value).items() >= vars(make(name)).items()


@pytest.mark.parametrize("name", NAMES)
def test_an_error_of_another_process_can_be_retold_by_its_class(name):
    error = CLASSES[name].retold("what it said there")
    assert type(error) is CLASSES[name]
    assert (str(error), error.code) == ("what it said there", TABLE[name][0])
