"""The tables of the rotary embedding: right in every process, on every processor."""

from __future__ import annotations

import numpy as np
import torch

from esm2.engine.rotary import Rotary


def test_cosines_and_sines_are_the_nearest_float32_of_float32_angles() -> None:
    """torch's own are off by 1.5e-4 in some processes, and by a last digit in the others."""
    frequencies = 1 / 10000 ** (torch.arange(0, 64, 2) / 64)
    cos, sin = Rotary(frequencies).tables(1500)
    angles = np.arange(1536, dtype=np.float32)[:, None] * frequencies.numpy()
    assert angles.dtype == np.float32
    exact = angles.astype(np.longdouble)
    assert np.array_equal(cos.numpy(), np.cos(exact).astype(np.float32))
    assert np.array_equal(sin.numpy(), np.sin(exact).astype(np.float32))


def test_the_longest_sequence_so_far_changes_no_position() -> None:
    frequencies = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
    grown, at_once = Rotary(frequencies), Rotary(frequencies)
    for longest in (3, 513, 1100):
        grown.tables(longest)
    for own, other in zip(grown.tables(1100), at_once.tables(1100), strict=True):
        assert torch.equal(own, other)
