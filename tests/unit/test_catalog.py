"""The catalog: every spelling, every layer, and the digests that were recorded elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from esm2.catalog import CHECKPOINTS, DEMO_SLUG, SLUGS, Checkpoint, Shape, canonical, find
from esm2.errors import LayerOutOfRange, UnknownModel

#: slug -> repository, revision and digests, as another project recorded them (tests/data/README.md)
_RECORDED = json.loads((Path(__file__).parents[1] / "data" / "checkpoints.json").read_bytes())


def _size(checkpoint: Checkpoint) -> str:
    return checkpoint.slug.removeprefix("esm2-")


@pytest.mark.parametrize("write", [str, str.upper, str.title, lambda name: f" {name}\n"])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=SLUGS)
def test_every_spelling_in_any_case_means_the_one_checkpoint(checkpoint, write):
    size = _size(checkpoint)
    spellings = [checkpoint.slug, f"esm2_{size}", size, checkpoint.name, checkpoint.repo]
    assert [canonical(write(name)) for name in spellings] == [checkpoint.slug] * 5
    assert all(find(write(name)) is checkpoint for name in spellings)


@pytest.mark.parametrize(
    ("written", "slug"),
    [
        ("esm2_t33_650M_UR50D", "esm2-650m"),
        ("facebook/esm2_t6_8M_UR50D", "esm2-8m"),
        ("esm2-3B", "esm2-3b"),
        ("150m", "esm2-150m"),
        ("esm2_t12_35M_UR50S", "esm2-35m"),
        ("ESM2-Demo", DEMO_SLUG),
    ],
)
def test_names_that_people_write_are_understood(written, slug):
    assert canonical(written) == slug


@pytest.mark.parametrize(
    ("written", "nearest"),
    [("esm2-650", "esm2-650m"), ("esm2_t33_650M", "esm2-650m"), ("esm2-dmeo", DEMO_SLUG)],
)
def test_an_unknown_name_is_answered_with_the_nearest_first(written, nearest):
    with pytest.raises(UnknownModel, match="did you mean") as caught:
        canonical(written)
    assert caught.value.nearest[0] == nearest
    assert caught.value.name == written


def test_a_name_that_resembles_nothing_is_answered_with_all_that_are_known():
    with pytest.raises(UnknownModel) as caught:
        canonical("qqqqqq", others=["my-enzyme"])
    assert caught.value.nearest == ()
    assert all(slug in str(caught.value) for slug in (DEMO_SLUG, "my-enzyme", *SLUGS))


def test_every_known_name_is_told_once():
    with pytest.raises(UnknownModel) as caught:
        canonical("qqqqqq", others=[DEMO_SLUG, SLUGS[0], "my-enzyme"])
    known = str(caught.value).partition("known: ")[2].split(", ")
    assert sorted(known) == sorted([DEMO_SLUG, "my-enzyme", *SLUGS])


def test_a_slug_of_ones_own_is_found_in_any_case_and_echoed_as_it_was_given():
    assert canonical("my-ENZYME", others=["My-Enzyme"]) == "My-Enzyme"
    assert find("my-enzyme") is None


def test_the_demo_is_no_official_checkpoint():
    assert find(DEMO_SLUG) is None
    assert DEMO_SLUG not in SLUGS


def test_layers_count_from_both_ends():
    shape = Shape(layers=6, dim=320, heads=20)
    assert [shape.layer(index) for index in (0, 1, 6, -1, -2, -7)] == [0, 1, 6, 6, 5, 0]


@pytest.mark.parametrize("index", [7, -8, 100])
def test_a_layer_that_does_not_exist_is_refused_by_name(index):
    with pytest.raises(LayerOutOfRange, match=f"layer {index} does not exist") as caught:
        Shape(layers=6, dim=320, heads=20).layer(index)
    assert (caught.value.layer, caught.value.layers) == (index, 6)


def test_the_shapes_are_those_of_the_names():
    shapes = {
        "esm2-8m": (6, 320, 20),
        "esm2-35m": (12, 480, 20),
        "esm2-150m": (30, 640, 20),
        "esm2-650m": (33, 1280, 20),
        "esm2-3b": (36, 2560, 40),
    }
    assert {c.slug: (c.shape.layers, c.shape.dim, c.shape.heads) for c in CHECKPOINTS} == shapes
    assert all(f"_t{c.shape.layers}_" in c.name for c in CHECKPOINTS)


def test_parameters_are_counted_as_fair_esm_counts_them():
    # sum(p.numel() for p in esm.ESM2(N, D, H, "ESM-1b").parameters()), fair-esm 2.0.0
    counted = {
        "esm2-8m": 7_512_474,
        "esm2-35m": 33_501_394,
        "esm2-150m": 148_140_154,
        "esm2-650m": 651_043_254,
        "esm2-3b": 2_839_005_634,
    }
    assert {c.slug: c.shape.parameters for c in CHECKPOINTS} == counted


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=SLUGS)
def test_a_row_pins_a_commit_and_a_whole_checkpoint(checkpoint):
    names = [file.name for file in checkpoint.files]
    assert re.fullmatch("[0-9a-f]{40}", checkpoint.revision)
    assert names[0] == "config.json"
    assert len(set(names)) == len(names)
    for file in checkpoint.files:
        weights = file.name.endswith((".safetensors", ".bin"))
        pattern = "sha256:[0-9a-f]{64}" if weights else "(git-sha1:[0-9a-f]{40})?"
        assert re.fullmatch(pattern, file.digest), file


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=SLUGS)
def test_revisions_and_digests_are_those_recorded_from_the_official_repositories(checkpoint):
    recorded = _RECORDED[checkpoint.slug]
    ours = {file.name: file.digest for file in checkpoint.files if file.digest}
    assert (checkpoint.repo, checkpoint.revision) == (recorded["repo_id"], recorded["revision"])
    assert ours == {name: recorded["files"][name] for name in ours}
    weights = {name for name in recorded["files"] if name.endswith((".safetensors", ".bin"))}
    assert weights <= ours.keys()
