"""`esm2 fetch` and `esm2 models` as a person runs them, against a hub on loopback."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import esm2
from esm2.catalog import CHECKPOINTS, DEMO_SLUG, SLUGS, Checkpoint, find
from tests.hubserver import Hub, serve

_RUN = "from esm2.cli import main; main()"
_DEMO = Path(esm2.__file__).parent / "demo"
Esm2 = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}


@pytest.fixture
def run_esm2(environment: dict[str, str]) -> Esm2:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def _checkpoint(slug: str) -> Checkpoint:
    checkpoint = find(slug)
    assert checkpoint is not None
    return checkpoint


def _pretended(checkpoint: Checkpoint) -> Hub:
    """A hub with files of the right names and the wrong content."""
    files = {file.name: file.name.encode() for file in checkpoint.files}
    return Hub(files, revision=checkpoint.revision)


def _snapshot(home: Path, checkpoint: Checkpoint) -> Path:
    folder = f"models--{checkpoint.repo.replace('/', '--')}"
    return home / "hub" / folder / "snapshots" / checkpoint.revision


# --- fetch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hub_admits_it", [True, False])
def test_a_file_that_is_not_the_published_one_is_refused(run_esm2, tmp_path, hub_admits_it):
    checkpoint = _checkpoint("esm2-8m")
    pinned = checkpoint.files[0].digest
    with serve(_pretended(checkpoint)) as hub:
        hub.stated_etag = None if hub_admits_it else pinned.removeprefix("git-sha1:")
        done = run_esm2("fetch", "esm2-8m", HF_ENDPOINT=hub.endpoint)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("[hub.hash_mismatch]\n")
    assert f"expected {pinned}" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(hub.bodies("config.json")) == (0 if hub_admits_it else 1)
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".json" and path.is_file()]


def test_any_spelling_fetches_the_same_model(run_esm2):
    for written in ("650M", "esm2_t33_650M_UR50D", "facebook/esm2_t33_650M_UR50D"):
        done = run_esm2("fetch", written, HF_HUB_OFFLINE="1")
        assert "esm2-650m is facebook/esm2_t33_650M_UR50D at revision 08e4846e" in done.stderr


def test_the_demo_needs_no_fetching(run_esm2):
    done = run_esm2("fetch", "ESM2-demo", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (0, f"{_DEMO}\n")
    assert "inside this package: there is nothing to fetch" in done.stderr
    assert "esm2 serve --model esm2-demo" in done.stderr


def test_an_unknown_model_is_answered_with_the_nearest(run_esm2):
    done = run_esm2("fetch", "esm2-650")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean esm2-650m" in done.stderr
    assert done.stderr.endswith("[model.unknown]\n")


def test_no_network_and_offline_mode_are_one_line_each_with_what_to_do(run_esm2):
    with serve(Hub({})) as hub:
        pass  # gone again: nobody listens there now
    gone = run_esm2("fetch", "esm2-8m", HF_ENDPOINT=hub.endpoint)
    offline = run_esm2("fetch", "esm2-8m", HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="1")
    for done in (gone, offline):
        _, error = done.stderr.splitlines()
        assert done.returncode == 1
        assert hub.endpoint in error
        assert "on a machine with internet" in error
        assert error.endswith("[hub.unreachable]")


def test_a_missing_file_at_the_hub_is_one_line(run_esm2):
    with serve(_pretended(_checkpoint("esm2-8m"))) as hub:
        del hub.files["config.json"]
        done = run_esm2("fetch", "esm2-8m", HF_ENDPOINT=hub.endpoint)
    _, error = done.stderr.splitlines()
    assert done.returncode == 1
    assert "the hub answered 404" in error
    assert error.endswith("[hub.failed]")


def test_fetch_without_a_model_is_wrong_usage(run_esm2):
    done = run_esm2("fetch")
    assert done.returncode == 2
    assert "Usage: " in done.stderr
    assert "Traceback" not in done.stderr


# --- models ------------------------------------------------------------------------------------


def test_models_lists_what_is_known_with_its_size(run_esm2):
    done = run_esm2("models", "--json")
    rows = {row["slug"]: row for row in json.loads(done.stdout)}
    assert list(rows) == [DEMO_SLUG, *SLUGS]
    for checkpoint in CHECKPOINTS:
        row, shape = rows[checkpoint.slug], checkpoint.shape
        assert (row["layers"], row["dim"], row["heads"]) == (shape.layers, shape.dim, shape.heads)
        assert row["parameters"] == shape.parameters
        assert (row["name"], row["here"], row["where"]) == (checkpoint.name, False, None)


def test_models_says_that_the_demo_is_in_the_package_and_tiny(run_esm2):
    rows = json.loads(run_esm2("models", "--json").stdout)
    assert (rows[0]["here"], rows[0]["where"]) == (True, str(_DEMO))
    assert "inside the package; a tiny model" in rows[0]["note"]
    assert rows[0]["note"] in run_esm2("models").stdout


def test_models_shows_what_is_here_and_where(run_esm2, tmp_path):
    checkpoint = _checkpoint("esm2-35m")
    snapshot = _snapshot(tmp_path, checkpoint)
    snapshot.mkdir(parents=True)
    for file in checkpoint.files:
        (snapshot / file.name).touch()
    rows = {row["slug"]: row for row in json.loads(run_esm2("models", "--json").stdout)}
    assert [slug for slug in SLUGS if rows[slug]["here"]] == ["esm2-35m"]
    assert rows["esm2-35m"]["where"] == str(snapshot)

    lines = run_esm2("models").stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("esm2-35m "))
    assert line.split() == [
        *("esm2-35m", "esm2_t12_35M_UR50D", "12", "480", "20", "33,501,394", "yes"),
        str(snapshot),
    ]
    assert "\x1b" not in "".join(lines)


def test_models_fits_a_terminal_of_80_columns_and_cuts_nothing(environment):
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", _RUN, "models"],
            env=environment | {"COLUMNS": "80", "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(theirs)
        os.close(ours)
    for checkpoint in CHECKPOINTS:
        assert f"{checkpoint.slug} " in shown
        assert f"{checkpoint.name} " in shown
        assert f"{checkpoint.shape.parameters:,}" in shown
    assert str(_DEMO) in shown
    assert "…" not in shown


def test_models_without_huggingface_hub_says_what_to_install(environment):
    code = f"import sys; sys.modules['huggingface_hub'] = None; {_RUN}"
    done = subprocess.run(
        [sys.executable, "-c", code, "models"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert DEMO_SLUG in done.stdout
    assert "this needs huggingface_hub: pip install 'huggingface-hub" in done.stderr


# --- start-up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["fetch", "--help"], ["models", "--help"]])
def test_the_command_line_starts_without_the_heavy_libraries(environment, arguments):
    code = (
        "import atexit, sys; heavy = {'torch', 'huggingface_hub', 'safetensors'};"
        "atexit.register(lambda: print('imported:', sorted(heavy & set(sys.modules))));"
        "import esm2.cli; len(sys.argv) > 1 and esm2.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.endswith("imported: []\n")
    assert ("Usage: " in done.stdout) == bool(arguments)
