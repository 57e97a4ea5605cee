"""The composition root: what a model name means, what is loaded for it, and what is refused."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from esm2.alphabet import tokenize
from esm2.catalog import DEMO_SLUG, SLUGS, Shape
from esm2.errors import (
    CheckpointError,
    ModelNotServed,
    Overloaded,
    SettingsError,
    ShuttingDown,
    UnknownModel,
)
from esm2.loading import DEMO_DIRECTORY, Load, Spec, checkpoint_path, parse_spec, spec
from esm2.runtime import Runtime, open_model, open_runtime
from esm2.service import Service
from esm2.settings import Settings
from esm2.types import Decided, ForwardRequest, Outputs, Want
from tests.near import assert_same

PATIENCE = 20.0  # seconds until a test gives up; nothing waits for as long as that
MEAN = Want(layers=(2,), mean=True)


def not_called(message):
    raise AssertionError(f"nothing was to be fetched: {message}")


@pytest.fixture
def batchers():
    """The slugs of the batchers that this test started and whose threads are alive."""
    before = set(threading.enumerate())

    def alive() -> list[str]:
        started = (thread for thread in threading.enumerate() if thread not in before)
        names = {thread.name for thread in started}  # a batcher may have several
        return sorted(n.removeprefix("batcher-") for n in names if n.startswith("batcher-"))

    return alive


@pytest.fixture
def runtime():
    """Serve these models on the CPU."""

    def serve(*models, **knobs):
        settings = Settings(model=models, device="cpu", **knobs)
        return open_runtime(settings, not_called)

    return serve


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "slug", "path"),
    [
        ("esm2-650m", "esm2-650m", None),
        ("ESM2-3B", "esm2-3b", None),
        ("facebook/esm2_t6_8M_UR50D", "esm2-8m", None),
        (" esm2-demo ", DEMO_SLUG, None),
        ("esm2-8m=/a/b", "esm2-8m", "/a/b"),
        ("8M=/a/b", "esm2-8m", "/a/b"),
        ("esm2_t6_8M_UR50D=/a/b.pt", "esm2-8m", "/a/b.pt"),
        ("My-Slug=/a/b", "my-slug", "/a/b"),
        ("mine=relative/path", "mine", "relative/path"),
        ("mine=/a/b=c", "mine", "/a/b=c"),
    ],
)
def test_a_model_is_a_name_or_a_name_and_a_path(text, slug, path):
    assert parse_spec(text) == Spec(slug, None if path is None else Path(path))


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").mkdir()
    assert parse_spec("mine=~/a").path == tmp_path / "a"
    for bare in ("~/a", Path("~/a")):
        assert spec(bare) == Spec("a", tmp_path / "a")
    with pytest.raises(SettingsError, match="'~/a' is a path; spell it SLUG=PATH"):
        parse_spec("~/a")


@pytest.mark.parametrize("text", ["/nowhere/at/all", "./nowhere", "~/nowhere", "/run=7/nowhere"])
def test_a_path_where_nothing_is_is_told_as_that(text):
    with pytest.raises(CheckpointError, match=f"^{text}: no such file or directory$"):
        parse_spec(text)
    with pytest.raises(CheckpointError, match=r"nowhere.*: no such file or directory$"):
        Load(spec(text), "cpu", "auto", 1024)()


@pytest.mark.parametrize("text", ["", "  ", "M" * 5000])
def test_what_names_nothing_is_not_the_directory_that_one_is_in(text):
    for read in (parse_spec, spec):
        with pytest.raises(UnknownModel):
            read(text)


@pytest.mark.parametrize("wrong", [None, 5, b"/a/b"])
def test_what_is_neither_text_nor_a_path_is_told_what_to_be(wrong):
    with pytest.raises(TypeError, match=f"^name is {type(wrong).__name__}; pass the name of a"):
        spec(wrong)


def test_a_name_that_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(UnknownModel) as caught:
        parse_spec("esm2-65m")
    assert "esm2-650m" in caught.value.nearest


@pytest.mark.parametrize("text", ["=", "mine=", "=/a/b", " =/a/b"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(SettingsError, match="is not SLUG or SLUG=PATH"):
        parse_spec(text)


@pytest.mark.parametrize("text", ["mine/other=/a", "my slug?#=/a", "-x=/a", "é=/a"])
def test_a_slug_can_stand_in_a_url(text):
    with pytest.raises(SettingsError, match="cannot be a slug"):
        parse_spec(text)


def test_every_known_spelling_may_have_a_path():
    assert parse_spec("facebook/esm2_t6_8M_UR50D=/a") == Spec("esm2-8m", Path("/a"))


@pytest.mark.parametrize("text", ["esm2-demo=/a/b", "ESM2-Demo=/a/b"])
def test_no_other_checkpoint_may_be_called_esm2_demo(text):
    with pytest.raises(SettingsError, match="esm2-demo is the checkpoint inside the package"):
        parse_spec(text)


def test_the_weights_of_the_demo_are_inside_the_package():
    path = checkpoint_path(parse_spec(DEMO_SLUG), not_called)
    assert path == DEMO_DIRECTORY
    assert (path / "model.safetensors").stat().st_size <= 6_000_000


def test_nothing_is_fetched_where_nothing_could_compute_with_it(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from esm2.errors import MissingExtra\n"
        "from esm2.loading import checkpoint_path, spec\n"
        "try: checkpoint_path(spec('esm2-8m'), print)\n"
        "except MissingExtra as error: print(error)"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert re.fullmatch("this needs torch: pip install .*'torch>=2.6'\n", done.stdout)


def test_a_path_is_taken_as_it_is_and_nothing_is_fetched():
    assert checkpoint_path(Spec("esm2-8m", Path("/a/b")), not_called) == Path("/a/b")


# --- one model ---------------------------------------------------------------------------------


def test_a_custom_checkpoint_answers_under_its_own_slug(reference):
    own = reference("tiny")
    request = ForwardRequest(tokenize("MKTAYIAKQR"), MEAN)
    with open_model(f"My-Slug={own.directory}", device="cpu", on_fetch=not_called) as served:
        assert (served.decided.slug, served.decided.weights_kind) == ("my-slug", "custom")
        assert served.decided.shape == Shape(2, 32, 2)
        outputs = served.submit(request).result(PATIENCE)
    (expected,) = own.engine.run([request])
    assert_same(outputs.mean[2], expected.mean[2])


def test_an_official_slug_is_not_given_to_a_checkpoint_of_another_shape(reference):
    directory = reference("tiny").directory
    with (
        pytest.raises(CheckpointError) as caught,
        open_model(f"esm2-8m={directory}", device="cpu"),
    ):
        pass
    assert str(directory) in str(caught.value)
    for shape in (Shape(2, 32, 2), Shape(6, 320, 20)):
        assert str(shape) in str(caught.value)


def test_a_copy_of_the_official_shape_with_other_numbers_is_not_called_official(reference):
    with open_model(f"esm2-8m={reference('8m').directory}", device="cpu") as served:
        assert (served.decided.slug, served.decided.weights_kind) == ("esm2-8m", "custom")


def test_the_demo_says_that_it_is_one():
    with open_model(DEMO_SLUG, device="cpu", on_fetch=not_called) as served:
        assert (served.decided.slug, served.decided.weights_kind) == (DEMO_SLUG, "demo")


def test_the_demo_is_known_by_its_weights_whatever_it_is_called(tmp_path):
    copy = shutil.copytree(DEMO_DIRECTORY, tmp_path / "copy")
    with open_model(f"mine={copy}", device="cpu") as served:
        assert served.decided.weights_kind == "demo"
    with (
        pytest.raises(CheckpointError, match="but esm2-8m has"),
        open_model(f"esm2-8m={copy}", device="cpu"),
    ):
        pass


def test_a_path_where_nothing_is_is_told(tmp_path):
    with (
        pytest.raises(CheckpointError, match="no such file or directory"),
        open_model(f"mine={tmp_path / 'nowhere'}", device="cpu"),
    ):
        pass


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"device": "tpu9"}, "not a device"),
        ({"device": "mps"}, "not supported"),
        ({"device": "cuda:99"}, "is not here"),
        ({"dtype": "float16"}, "is for CUDA"),
    ],
)
def test_a_device_or_dtype_that_is_not_there_is_refused_and_never_replaced(knob, message):
    with (
        pytest.raises(SettingsError, match=message) as caught,
        open_model(DEMO_SLUG, **{"device": "cpu"} | knob),
    ):
        pass
    assert repr(*knob.values()) in str(caught.value)


def test_a_model_stops_with_its_context(batchers):
    with open_model(DEMO_SLUG, device="cpu") as served:
        assert batchers() == [DEMO_SLUG]
    assert batchers() == []
    with pytest.raises(ShuttingDown):
        served.submit(ForwardRequest(tokenize("M"), MEAN))


# --- a server's models -------------------------------------------------------------------------


def test_the_demo_is_served_beside_whatever_is_named(runtime, reference, batchers):
    with runtime(f"mine={reference('tiny').directory}") as running:
        assert list(running.services) == ["mine", DEMO_SLUG]
        assert batchers() == [DEMO_SLUG, "mine"]
        decided = [service.decided for service in running.services.values()]
        assert [own.slug for own in decided] == ["mine", DEMO_SLUG]
        assert running.service("MINE") is running.services["mine"]
        assert running.service(" Esm2-Demo ") is running.services[DEMO_SLUG]
    assert batchers() == []


@pytest.mark.parametrize("models", [(), ("esm2-demo",), ("ESM2-DEMO",)])
def test_the_demo_is_served_once(runtime, models):
    with runtime(*models) as running:
        assert list(running.services) == [DEMO_SLUG]


def test_the_order_is_that_in_which_models_were_named(runtime, reference):
    tiny, odd = (reference(shape).directory for shape in ("tiny", "odd"))
    with runtime(f"b={tiny}", DEMO_SLUG, f"a={odd}") as running:
        assert list(running.services) == ["b", DEMO_SLUG, "a"]


@pytest.mark.parametrize("again", ["mine", "MINE"])
def test_a_model_that_is_named_twice_is_refused_and_nothing_stays(
    runtime, reference, again, batchers
):
    directory = reference("tiny").directory
    with (
        pytest.raises(SettingsError, match="mine is named twice"),
        runtime(f"mine={directory}", f"{again}={directory}"),
    ):
        pass
    assert batchers() == []


def test_two_spellings_of_an_official_model_are_the_same_model_twice(runtime, reference):
    directory = reference("8m").directory
    with (
        pytest.raises(SettingsError, match="esm2-8m is named twice"),
        runtime(f"esm2-8m={directory}", f"8M={directory}"),
    ):
        pass


def test_when_one_model_cannot_be_loaded_none_is_served(runtime, tmp_path, batchers):
    with pytest.raises(CheckpointError), runtime(DEMO_SLUG, f"mine={tmp_path}"):
        pass
    assert batchers() == []


def test_the_settings_reach_the_batcher_of_each_model(runtime, reference):
    with runtime(f"mine={reference('tiny').directory}", pack_tokens=7, queue_tokens=9) as running:
        assert [own.decided.pack_tokens for own in running.services.values()] == [7, 7]
        # All are submitted before one is answered: soon one comes while another one waits.
        request = ForwardRequest(tokenize("M" * 500), MEAN)

        async def ask():
            service = running.service("mine")
            await asyncio.gather(*(service.run([request]) for _ in range(1000)))

        with pytest.raises(Overloaded) as caught:
            asyncio.run(ask())
        assert caught.value.limit == 9


# --- asking for a model ------------------------------------------------------------------------


def unloaded(*slugs):
    """A runtime over services that compute nothing."""

    def service(slug):
        about = ("cpu", "float32", "none", "", "custom", True, 10, 0)
        decided = Decided(slug, Shape(2, 32, 2), *about)
        return Service(decided, lambda _, caller: Future[Outputs]())

    return Runtime(Settings(), {slug: service(slug) for slug in slugs})


@pytest.mark.parametrize("name", ["mine", "MINE", " Mine"])
def test_a_custom_slug_is_found_in_any_case(name):
    running = unloaded("mine", DEMO_SLUG)
    assert running.service(name) is running.services["mine"]


@pytest.mark.parametrize("name", ["esm2-8m", "ESM2-8M", "8m", "facebook/esm2_t6_8M_UR50D"])
def test_an_official_model_is_found_under_any_of_its_names(name):
    running = unloaded("esm2-8m", DEMO_SLUG)
    assert running.service(name) is running.services["esm2-8m"]


@pytest.mark.parametrize("slug", SLUGS)
def test_a_known_model_that_is_not_served_says_what_is_and_how_to_get_it(slug):
    with pytest.raises(ModelNotServed) as caught:
        unloaded("mine", DEMO_SLUG).service(slug.upper())
    assert caught.value.slug == slug
    message = str(caught.value)
    assert f"{slug} is not served here (served: mine, esm2-demo)" in message
    assert f"`esm2 fetch {slug}`" in message
    assert f"`esm2 serve --model {slug}`" in message


def test_an_unknown_model_is_told_with_the_nearest_and_the_custom_ones_count():
    with pytest.raises(UnknownModel) as caught:
        unloaded("my-antibodies", DEMO_SLUG).service("my-antibody")
    assert caught.value.nearest == ("my-antibodies",)
    with pytest.raises(UnknownModel, match="known: esm2-demo, mine, esm2-8m"):
        unloaded("mine", DEMO_SLUG).service("protbert")


# --- without weights and without the hub -------------------------------------------------------


def test_without_weights_and_offline_a_command_tells_so_in_a_sentence(tmp_path):
    (tmp_path / "a.fasta").write_text(">a\nMKT\n")
    command = "from esm2.cli import main; main()"
    environment = {name: v for name, v in os.environ.items() if not name.startswith("ESM2_")}
    done = subprocess.run(
        [sys.executable, "-c", command, "embed", "a.fasta", "-o", "a.npz", "--model", "650m"],
        env=environment | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    fetching, error = done.stderr.splitlines()
    assert "esm2-650m is not on this machine: fetching facebook/esm2_t33_650M_UR50D" in fetching
    assert error.startswith("esm2: HF_HUB_OFFLINE forbids to ask ")
    assert "esm2 fetch esm2-650m" in error
    assert "--model esm2-650m=PATH" in error
    assert error.endswith(" [hub.unreachable]")
    assert not (tmp_path / "a.npz").exists()
