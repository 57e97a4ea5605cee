"""BioLM's recorded answers and ours to the same request: same keys, order, shapes, digits.

The numbers differ, because the models do (theirs is esm2-650m). What a number means is proven
against fair-esm in tests/engine.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from tests.wire.digits import Digits, is_float64_of_float32, read, written

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
#: Recording -> the params of its request.
RECORDINGS = {
    "v2_esm2-650m_encode_default_246aa": None,
    "v2_esm2-650m_encode_all_176aa": {"include": ["mean", "contacts", "logits", "attentions"]},
}
THEIRS = {33: "N", 1280: "D"}
OURS = {3: "N", 48: "D"}


@pytest.fixture(params=RECORDINGS)
def recording(request) -> tuple[str, Any, Any]:
    """Sequence, params and recorded answer."""
    path = GOLDEN / f"{request.param}.json.gz"
    if not path.exists():
        pytest.skip(f"BioLM's recorded answers are not here ({path})")
    content = read(gzip.decompress(path.read_bytes()))
    [sequence] = content["sequences"]
    return sequence, RECORDINGS[request.param], content["response"]


def skeleton(value: Any, names: dict[int, str]) -> Any:
    """Keys in order, nesting, lengths and kinds of an answer; what depends on the model, named."""
    if isinstance(value, dict):
        return [(layer_named(key, names), skeleton(part, names)) for key, part in value.items()]
    if isinstance(value, list):
        # A contact of exactly 1 was recorded as `1`, by a notebook that JavaScript wrote.
        parts = [
            "number" if isinstance(part, Digits | int) else skeleton(part, names) for part in value
        ]
        assert all(part == parts[0] for part in parts), "a list holds things of two kinds"
        return [names.get(len(parts), len(parts)), parts[0]]
    return type(value).__name__


def layer_named(key: str, names: dict[int, str]) -> str:
    return names[int(key)] if re.fullmatch(r"\d+", key) else key


def test_our_answer_is_built_like_the_recorded_one(server, recording):
    sequence, params, recorded = recording
    body = {"items": [{"sequence": sequence}]} | ({"params": params} if params else {})
    answer = server.post("/api/v2/my-slug/encode/", body)
    assert answer.status == 200
    assert skeleton(read(answer.body), OURS) == skeleton(recorded, THEIRS)


def test_their_digits_are_the_ones_we_write(server, recording):
    _, _, recorded = recording
    digits = list(written(recorded))
    assert digits
    assert [each for each in digits if not is_float64_of_float32(each)] == []
