"""`esm2 doctor`: what this machine is and what fits on it."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

import esm2
from esm2.budget import MemoryModel
from esm2.catalog import CHECKPOINTS, SLUGS
from esm2.engine.native.library import instruction_sets
from esm2.types import Want
from tests.near import company

OUTPUTS = ("mean", "per_token", "logits", "contacts", "attentions")


def esm2_doctor(home, *arguments, **variables):
    """The command in a process of its own, with an empty cache."""
    hidden = ("ESM2_", "HF_", "OMP_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-c", "from esm2.cli import main; main()", "doctor", *arguments],
        env=environment | {"HF_HOME": str(home), "OMP_NUM_THREADS": "2"} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A cache with the files of esm2-8m and no other model; the doctor opens none of them."""
    home = tmp_path_factory.mktemp("home")
    own = CHECKPOINTS[0]
    storage = home / "hub" / f"models--{own.repo.replace('/', '--')}"
    snapshot = storage / "snapshots" / own.revision
    snapshot.mkdir(parents=True)
    for file in own.files:
        (snapshot / file.name).touch()
    return home


@pytest.fixture(scope="module")
def told(home):
    done = esm2_doctor(home, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def fact(told, name):
    """What stands behind a name at the beginning of a line."""
    found = re.search(rf"^ *{name} +(.+)$", told, re.MULTILINE)
    assert found, f"nothing is told of {name}"
    return found[1].strip()


def longest(told, slug):
    """The numbers of a model's row, by output; ">=" is the largest that is told."""
    row = re.sub(r"\(.*\)|>=", "", fact(told, slug))
    size, unit, *numbers = row.split()
    assert unit == "GiB"
    assert float(size) > 0
    return dict(zip(OUTPUTS, (int(n.replace(",", "")) for n in numbers), strict=True))


def test_the_doctor_tells_versions(told):
    assert told.startswith(f"esm2 {esm2.__version__}, Python {sys.version.split()[0]}, ")
    for package in ("torch", "numpy", "safetensors", "huggingface_hub"):
        assert fact(told, package) == version(package)


def test_the_doctor_tells_device_dtype_and_threads(told):
    assert re.fullmatch(r"cpu \(.+, 2 threads\)", fact(told, "device"))
    assert fact(told, "dtype") == "float32"


def test_the_doctor_tells_what_the_native_library_can_do(told):
    assert fact(told, "native library") == (
        ", ".join(instruction_sets()) or "not here: torch computes"
    )


def test_the_doctor_tells_the_kernel_and_what_company_changes(told):
    kernel = fact(told, "kernel")
    assert kernel == (f"native-{instruction_sets()[0]}" if instruction_sets() else kernel)
    limit = company().largest
    changed = f"{limit:g} of the largest number at most" if limit else "nothing"
    assert fact(told, "company").startswith(f"changes {changed}, ")


def test_the_doctor_tells_where_weights_are_kept(told, home):
    assert fact(told, "weights cache") == str(home / "hub")


def test_the_doctor_tells_how_much_memory_is_free(told):
    free = re.fullmatch(r"(\d+\.\d) GiB free on cpu", fact(told, "memory"))
    assert free
    assert float(free[1]) > 0


@pytest.mark.parametrize("slug", SLUGS)
def test_every_official_model_has_a_row_and_costlier_outputs_smaller_numbers(told, slug):
    residues = longest(told, slug)
    assert residues["mean"] >= residues["per_token"] >= residues["contacts"] >= 0
    assert residues["logits"] >= residues["contacts"]
    assert residues["attentions"] >= residues["contacts"]


def test_the_smallest_model_has_room_for_every_output(told):
    assert min(longest(told, "esm2-8m").values()) > 0


@pytest.mark.parametrize("native_threads", [0, 2])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=SLUGS)
def test_in_4_gib_the_numbers_decrease_from_mean_to_contacts(checkpoint, native_threads):
    wants = (
        Want(layers=(1,), mean=True),
        Want(layers=(1,), per_token=True),
        Want(contacts=True),
    )
    memory = MemoryModel(checkpoint.shape, native_threads)
    mean, per_token, contacts = (memory.longest(want, 4 << 30, ceiling=1 << 20) for want in wants)
    assert mean > per_token > contacts > 0


def test_a_larger_model_never_has_more_room(told):
    contacts = [longest(told, slug)["contacts"] for slug in SLUGS]
    assert contacts == sorted(contacts, reverse=True)


def test_the_weights_column_is_the_size_of_the_float32_checkpoint(told):
    # Parameters as published: 8, 35, 150, 650 million and 3 billion, of 4 bytes each.
    sizes = [float(fact(told, slug).split()[0]) for slug in SLUGS]
    published = [4 * millions * 1e6 / 2**30 for millions in (8, 35, 150, 650, 3000)]
    assert sizes == pytest.approx(published, rel=0.1)


def test_a_model_whose_weights_are_not_here_is_marked(told):
    marked = [slug for slug in SLUGS if "(weights not here)" in fact(told, slug)]
    assert marked == [slug for slug in SLUGS if slug != "esm2-8m"]


def test_the_demo_is_told(told):
    assert "esm2-demo is inside the package" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "tpu9"), "'tpu9' is not a device"),
        (("--device", "cpu", "--dtype", "float8"), "dtype 'float8' is not supported"),
    ],
)
def test_what_is_not_here_is_refused_in_a_sentence(home, arguments, message):
    done = esm2_doctor(home, *arguments)
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert error.startswith(f"esm2: {message}")
    assert error.endswith("[settings.invalid]")


def test_an_unknown_flag_is_wrong_usage(home):
    done = esm2_doctor(home, "--devise", "cpu")
    assert done.returncode == 2
    assert "--devise" in done.stderr
    assert "Traceback" not in done.stderr
