"""Weights: downloaded from a hub on loopback, verified, found again, and every way it can fail.

huggingface_hub reads its environment when it is imported, so each step is a process of its own.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock

from esm2 import hub as library
from tests.hubserver import CHILD, REVISION, Cut, Hub, IgnoreRange, Lie, Machine, Refuse, serve

CONFIG = b'{"model_type": "esm"}\n'
WEIGHTS = random.Random(20).randbytes(10_000)
# A transfer is written in pieces of 10 MiB: only beyond that a cut leaves something to go on from.
LARGE = random.Random(21).randbytes(12_000_000)
CUT, KEPT = 11_000_000, 10 * 1024 * 1024
INDEX = b'{"weight_map": {}}\n'


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub({"config.json": CONFIG, "model.safetensors": WEIGHTS})) as running:
        yield running


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    return Machine(tmp_path / "home", hub.endpoint)


# --- download ----------------------------------------------------------------------------------


def test_a_fetched_checkpoint_is_complete_verified_and_found(hub, machine):
    answer = machine.fetch(hub.checkpoint())
    assert answer.result == str(machine.snapshot()), answer.message
    assert (machine.snapshot() / "config.json").read_bytes() == CONFIG
    assert (machine.snapshot() / "model.safetensors").read_bytes() == WEIGHTS
    assert machine.has(hub.checkpoint())
    assert machine.blobs() == sorted(hub.etag(name) for name in hub.files)
    for name in hub.files:
        assert f"{name}: {hub.digest(name)}, as published" in answer.said


def test_huggingface_hub_finds_what_we_fetched(hub, machine):
    machine.fetch(hub.checkpoint())
    code = (
        "import sys; from huggingface_hub import hf_hub_download as find;"
        "print(find(sys.argv[1], sys.argv[2], revision=sys.argv[3], local_files_only=True))"
    )
    found = machine.run(code, "someone/esm2_tiny", "model.safetensors", REVISION).strip()
    assert found == str(machine.snapshot() / "model.safetensors")


def test_we_find_and_verify_what_huggingface_hub_fetched(hub, machine):
    code = (
        "import sys; from huggingface_hub import hf_hub_download as get;"
        "[get(sys.argv[1], name, revision=sys.argv[2]) for name in sys.argv[3:]]"
    )
    machine.run(code, "someone/esm2_tiny", REVISION, *hub.files)
    hub.requests.clear()
    assert machine.has(hub.checkpoint())
    assert machine.fetch(hub.checkpoint()).result == str(machine.snapshot())
    assert hub.asked() == []


def test_a_second_fetch_asks_nobody_and_says_that_all_is_here(hub, machine):
    machine.fetch(hub.checkpoint())
    hub.requests.clear()
    answer = machine.fetch(hub.checkpoint(), HF_HUB_OFFLINE="1")
    assert answer.result == str(machine.snapshot()), answer.message
    assert hub.asked() == []
    assert "model.safetensors: here already, verifying" in answer.said
    assert f"model.safetensors: {hub.digest('model.safetensors')}, as published" in answer.said


def test_a_connection_cut_once_is_taken_up_again_within_the_run(hub, machine):
    hub.files["model.safetensors"] = LARGE
    hub.faults["model.safetensors"] = deque([Cut(CUT)])
    assert machine.fetch(hub.checkpoint()).result == str(machine.snapshot())
    ranges = [seen.range for seen in hub.bodies("model.safetensors")]
    assert ranges == [None, f"bytes={KEPT}-"]
    assert (machine.snapshot() / "model.safetensors").read_bytes() == LARGE


def test_a_download_that_failed_goes_on_in_the_next_run_from_where_it_stopped(hub, machine):
    hub.files["model.safetensors"] = LARGE
    hub.faults["model.safetensors"] = deque([Cut(CUT), Refuse(503)])
    first = machine.fetch(hub.checkpoint())
    assert (first.error, "503" in first.message) == ("HubError", True)
    assert not machine.has(hub.checkpoint())
    partial = machine.storage / "blobs" / f"{hub.etag('model.safetensors')}.incomplete"
    assert partial.read_bytes() == LARGE[:KEPT]

    hub.requests.clear()
    second = machine.fetch(hub.checkpoint())
    assert second.result == str(machine.snapshot()), second.message
    assert [seen.range for seen in hub.bodies("model.safetensors")] == [f"bytes={KEPT}-"]
    assert any("going on from 10.5 MB" in line for line in second.said)
    assert (machine.snapshot() / "model.safetensors").read_bytes() == LARGE
    assert not partial.exists()


def test_a_hub_that_cannot_continue_sends_the_whole_file_again(hub, machine):
    hub.files["model.safetensors"] = LARGE
    hub.faults["model.safetensors"] = deque([Cut(CUT), Refuse(503), IgnoreRange()])
    machine.fetch(hub.checkpoint())
    assert machine.fetch(hub.checkpoint()).result == str(machine.snapshot())
    assert (machine.snapshot() / "model.safetensors").read_bytes() == LARGE


def test_more_bytes_than_the_file_has_are_thrown_away(hub, machine):
    partial = machine.storage / "blobs" / f"{hub.etag('config.json')}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONFIG * 2)
    assert machine.fetch(hub.checkpoint()).result == str(machine.snapshot())
    assert (machine.snapshot() / "config.json").read_bytes() == CONFIG


def test_a_blob_that_is_here_is_verified_and_only_linked(hub, machine):
    machine.fetch(hub.checkpoint())
    (machine.snapshot() / "model.safetensors").unlink()
    hub.requests.clear()
    assert machine.fetch(hub.checkpoint()).result == str(machine.snapshot())
    assert hub.bodies("model.safetensors") == []
    assert (machine.snapshot() / "model.safetensors").read_bytes() == WEIGHTS


def test_the_token_goes_to_the_hub_and_not_to_the_storage(hub, machine):
    machine.fetch(hub.checkpoint(), HF_TOKEN="hf_secret")
    tokens = {server: set() for server in ("hub", "storage")}
    for seen in hub.asked():
        tokens[seen.server].add(seen.token)
    assert tokens == {"hub": {"Bearer hf_secret"}, "storage": {None}}


# --- verification ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_wrong_bytes_under_the_right_etag_are_refused_and_not_kept(hub, machine, name):
    hub.faults[name] = deque([Lie()])
    answer = machine.fetch(hub.checkpoint())
    assert answer.error == "HashMismatch"
    assert hub.digest(name) in answer.message
    assert "it was removed from the cache" in answer.message
    assert not machine.has(hub.checkpoint())
    assert not any(blob.startswith(hub.etag(name)) for blob in machine.blobs())
    assert not (machine.snapshot() / name).exists()
    assert machine.fetch(hub.checkpoint()).result == str(machine.snapshot())


def test_a_hub_that_states_another_digest_is_refused_before_the_download(hub, machine):
    pinned = hub.checkpoint({"model.safetensors": f"sha256:{'0' * 64}"})
    answer = machine.fetch(pinned)
    assert answer.error == "HashMismatch"
    assert "nothing was downloaded" in answer.message
    assert hub.bodies("model.safetensors") == []
    assert not machine.has(pinned)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_went_bad_in_the_cache_is_removed_and_can_be_fetched_again(hub, machine, name):
    bodies = dict(hub.files) | {name: bytes(len(hub.files[name]))}
    machine.put(hub.checkpoint(), bodies)
    answer = machine.fetch(hub.checkpoint())
    assert answer.error == "HashMismatch"
    assert str(machine.snapshot() / name) in answer.message
    assert not machine.has(hub.checkpoint())
    assert hub.etag(name) not in machine.blobs()
    assert machine.fetch(hub.checkpoint()).result == str(machine.snapshot())
    assert (machine.snapshot() / name).read_bytes() == hub.files[name]


def test_a_bad_blob_without_a_link_is_not_linked(hub, machine):
    blob = machine.storage / "blobs" / hub.etag("config.json")
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"{}")
    assert machine.fetch(hub.checkpoint()).error == "HashMismatch"
    assert machine.blobs() == []


@pytest.mark.parametrize("name", ["index.json", "model.safetensors"])
def test_a_file_without_a_published_digest_is_checked_against_the_hubs(hub, machine, name):
    hub.files["index.json"] = INDEX
    unpublished = hub.checkpoint({name: ""})
    hub.faults[name] = deque([Lie()])
    assert machine.fetch(unpublished).error == "HashMismatch"
    line = f"{name}: {hub.digest(name)}, as the hub states; none is published for it"
    assert line in machine.fetch(unpublished).said
    again = machine.fetch(unpublished, HF_HUB_OFFLINE="1")
    assert line in again.said, again.message


def test_without_links_in_the_cache_the_hub_is_asked_for_the_digest(hub, machine):
    unpublished = hub.checkpoint({"config.json": ""})
    machine.snapshot().mkdir(parents=True)
    for name, body in hub.files.items():
        (machine.snapshot() / name).write_bytes(body)
    assert machine.fetch(unpublished).result == str(machine.snapshot())
    assert [seen.method for seen in hub.asked()] == ["HEAD"]


def test_sha256_is_that_of_the_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(WEIGHTS)
    assert library.sha256(path) == sha256(WEIGHTS).hexdigest()


# --- the hub refuses, or is not there ----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "set HF_TOKEN to a valid token"),
        (403, "may not read it"),
        (404, "check HF_ENDPOINT"),
        (429, "too many requests"),
        (500, "try again later"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence_with_what_to_do(hub, machine, status, advice):
    hub.status = status
    answer = machine.fetch(hub.checkpoint())
    assert answer.error == "HubError"
    assert f"the hub answered {status}" in answer.message
    assert advice in answer.message
    assert hub.endpoint in answer.message
    assert "\n" not in answer.message
    assert len(hub.asked()) == 1


def test_a_hub_that_is_not_there_is_told_with_the_way_to_do_without(hub, machine):
    with serve(Hub({})) as gone:
        machine.endpoint = gone.endpoint
    answer = machine.fetch(hub.checkpoint())
    assert answer.error == "HubUnreachable"
    assert gone.endpoint in answer.message
    assert f"copy {machine.storage} from there to here" in answer.message
    assert "--model esm2-tiny=PATH" in answer.message


def test_offline_mode_asks_nobody(hub, machine):
    answer = machine.fetch(hub.checkpoint(), HF_HUB_OFFLINE="1")
    assert answer.error == "HubUnreachable"
    assert "HF_HUB_OFFLINE forbids" in answer.message
    assert hub.asked() == []


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"HF_ENDPOINT": "no address"}, "HubUnreachable"),
        ({"HF_ENDPOINT": "http://[::1"}, "SettingsError"),
        ({"HF_ENDPOINT": "http://127.0.0.1:port"}, "SettingsError"),
        ({"HF_HUB_ETAG_TIMEOUT": "soon"}, "SettingsError"),
        ({"ALL_PROXY": "nonsense://x"}, "HubError"),
    ],
)
def test_settings_of_huggingface_hub_that_cannot_be_are_told(hub, machine, variables, error):
    answer = machine.fetch(hub.checkpoint(), NO_PROXY="", **variables)
    assert answer.error == error, answer.message
    assert hub.asked() == []


def test_another_commit_than_the_pinned_one_is_refused(hub, machine):
    hub.commit = "ab" * 20
    answer = machine.fetch(hub.checkpoint())
    assert (answer.error, hub.commit in answer.message) == ("HubError", True)
    assert machine.blobs() == []


@pytest.mark.parametrize("etag", ["d41d8cd98f00b204e9800998ecf8427e", "../../../../owned"])
def test_an_etag_that_is_no_digest_is_refused(hub, machine, etag):
    checkpoint = hub.checkpoint()
    hub.stated_etag = etag
    answer = machine.fetch(checkpoint)
    assert (answer.error, etag in answer.message) == ("HubError", True)
    assert machine.blobs() == []


# --- the disk ----------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_fills_up_is_told(hub, machine):
    partial = machine.storage / "blobs" / f"{hub.etag('model.safetensors')}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    answer = machine.fetch(hub.checkpoint())
    assert answer.error == "HubError"
    assert "No space left on device" in answer.message
    assert "set HF_HOME to another directory" in answer.message


def test_a_disk_that_is_too_small_is_told_before_the_download(hub, machine):
    hub.stated_size = 10**18
    answer = machine.fetch(hub.checkpoint())
    assert answer.error == "HubError"
    assert "needs 1,000,000,000,000.0 MB" in answer.message
    assert hub.bodies("model.safetensors") == []


@pytest.mark.parametrize("place", ["/sys/esm2", "a file"])
def test_a_cache_that_cannot_be_written_is_told(hub, machine, tmp_path, place):
    if place == "a file":
        (tmp_path / "file").write_text("in the way")
        place = str(tmp_path / "file" / "hub")
    answer = machine.fetch(hub.checkpoint(), HF_HUB_CACHE=place)
    assert answer.error == "HubError"
    assert f"the cache {place} cannot be used" in answer.message
    assert "\n" not in answer.message


def test_a_file_that_another_process_is_downloading_is_left_to_it(hub, machine):
    lock = machine.cache / ".locks" / machine.storage.name / f"{hub.etag('config.json')}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        answer = machine.fetch(hub.checkpoint())
    assert answer.error == "HubError"
    assert "another process is downloading config.json" in answer.message
    assert str(lock) in answer.message


# --- find --------------------------------------------------------------------------------------


def test_a_snapshot_is_here_only_when_all_its_files_are(hub, machine):
    checkpoint = hub.checkpoint()
    assert machine.call("locate", checkpoint).result == "None"
    machine.put(checkpoint, hub.files)
    assert machine.has(checkpoint)
    (machine.storage / "blobs" / hub.etag("model.safetensors")).unlink()
    assert machine.call("locate", checkpoint).result == "None"
    assert hub.asked() == []


def test_missing_weights_are_told_with_the_place_looked_in(hub, machine):
    message = machine.call("weights_missing", hub.checkpoint()).result
    assert f"looked in {machine.snapshot()}" in message
    assert "another revision" not in message


def test_another_revision_in_the_cache_is_named_and_not_used(hub, machine):
    other, bare = machine.snapshot("aa" * 20), machine.snapshot("bb" * 20)
    for directory in (other, bare):
        directory.mkdir(parents=True)
        (directory / "config.json").write_bytes(CONFIG)
    (other / "model.safetensors").write_bytes(WEIGHTS)
    assert machine.call("locate", hub.checkpoint()).result == "None"
    message = machine.call("weights_missing", hub.checkpoint()).result
    assert f"another revision is at {other}, to be used with --model esm2-tiny={other}" in message
    assert str(bare) not in message


@pytest.mark.parametrize(
    ("action", "outcome"),
    [("locate", "None"), ("weights_missing", "MissingExtra"), ("fetch", "MissingExtra")],
)
def test_without_huggingface_hub_the_extra_to_install_is_named(hub, machine, action, outcome):
    without = f"import sys; sys.modules['huggingface_hub'] = None\n{CHILD}"
    answer = json.loads(machine.run(without, action, json.dumps(asdict(hub.checkpoint()))))
    assert outcome in (answer.get("result"), answer.get("error"))
    if outcome == "MissingExtra":
        assert answer["message"].startswith("this needs huggingface_hub: pip install 'hugg")
        assert "torch" not in answer["message"]


def test_importing_hub_imports_neither_huggingface_hub_nor_torch(machine):
    code = "import sys, esm2.hub; print({'huggingface_hub', 'torch', 'numpy'} & set(sys.modules))"
    assert machine.run(code).strip() == "set()"
