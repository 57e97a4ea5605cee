"""Memory: weights are there once, and contacts never hold all attention maps at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from esm2.alphabet import tokenize
from esm2.engine import onednn
from esm2.engine.engine import Engine
from esm2.types import ForwardRequest, Want
from tests.checkpoints import SHAPES, random_fair_esm, save_hf
from tests.natives import KERNELS
from tests.proteins import residues

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="reads /proc, which is Linux")


def _status(field: str) -> int:
    """A memory figure of this process, in bytes."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def test_torch_computes_with_views_of_the_weights_file(tmp_path: Path) -> None:
    directory = save_hf(random_fair_esm(*SHAPES["35m"], seed=1), tmp_path / "35m")
    size = (directory / "model.safetensors").stat().st_size
    assert size > 120e6
    before = _status("RssAnon")
    engine = Engine.load(directory, "random", device="cpu", kernel="torch-sdpa")
    assert _status("RssAnon") - before < size / 8
    assert engine.decided.shape.layers == 12


@pytest.mark.parametrize("kernel", [*KERNELS[:1], onednn.KERNEL])
def test_prepacked_weights_are_one_copy_and_nothing_else(tmp_path: Path, kernel: str) -> None:
    if kernel == onednn.KERNEL and not onednn.available():
        pytest.skip("this build of torch has no prepacked products")
    directory = save_hf(random_fair_esm(*SHAPES["35m"], seed=1), tmp_path / "35m")
    size = (directory / "model.safetensors").stat().st_size
    CLEAR.write_text("5")  # the peak starts again from what is in use now
    before = _status("VmRSS")
    engine = Engine.load(directory, "random", device="cpu", kernel=kernel)
    assert engine.decided.kernel == kernel
    assert _status("VmRSS") - before < 1.15 * size
    assert _status("VmHWM") - before < 1.3 * size, "the file and the copy were there at once"


@pytest.mark.parametrize("kind", ["contacts", "attentions"])
def test_attention_maps_are_forgotten_as_they_are_read(tmp_path: Path, kind: str) -> None:
    layers, heads, length = 24, 16, 510
    model = random_fair_esm(layers, 64, heads, seed=1)
    engine = Engine.load(save_hf(model, tmp_path / "deep"), "deep", device="cpu")
    request = ForwardRequest(tokenize("".join(residues(length))), Want(**{kind: True}))
    all_maps = 4 * layers * heads * (length + 2) ** 2  # bytes: what fair-esm holds several times
    CLEAR.write_text("5")  # the peak starts again from what is in use now
    before = _status("VmRSS")
    engine.run([request])
    assert _status("VmHWM") - before < all_maps / 3
