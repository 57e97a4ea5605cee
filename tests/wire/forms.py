"""The form of an answer: keys in order, nesting, lengths and kinds. The numbers are left out.

    {results: 2 x {embeddings: 2 x {layer: int, embedding: D x number}, contacts: 67 x 67 x number}}

Of BioLM's recorded answers, tests/data/biolm/forms.json holds the request, the form, and a sample
of the numbers as they were written; the numbers themselves are in src/esm2/reference. It is made
of the originals (tests/data/README.md says whose they are):

    python -m tests.wire.forms [GOLDEN]
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.wire.digits import Digits, read, written
from tools.reference import GOLDEN

PATH = Path(__file__).parents[1] / "data" / "biolm" / "forms.json"
#: What depends on the model has a name: lengths and layers of theirs, and of the tests' own.
THEIRS = dict.fromkeys((320, 480, 640, 1280, 2560), "D") | {33: "N"}
OURS = {48: "D", 3: "N"}

#: The params in the notebooks, which show the answer to the first without any.
V2_PARAMS = {
    "v2_esm2-650m_encode_default_246aa": {},
    "v2_esm2-650m_encode_all_176aa": {
        "params": {"include": ["mean", "contacts", "logits", "attentions"]}
    },
}
#: What stands where the page cut a list.
CUT = "... (truncated for documentation)"
#: Enough to see how they write numbers, from the smallest to the largest of an answer.
SAMPLE = 200


def form(value: Any, names: Mapping[int, str]) -> str:
    """The form of something that `read` gave; lengths and layers in `names` by their name."""
    if isinstance(value, dict):
        parts = (f"{_layer(key, names)}: {form(part, names)}" for key, part in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list):
        # A contact of exactly 1 was recorded as `1`, by a notebook that JavaScript wrote.
        parts = ["number" if isinstance(part, int) else form(part, names) for part in value]
        if len(set(parts)) == 1:
            return f"{names.get(len(parts), len(parts))} x {parts[0]}"
        return f"[{', '.join(parts)}]"
    return _kind(value)


def cut_form(value: Any) -> str:
    """The form without the lengths, which a cut recording has lost."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {cut_form(part)}' for key, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{cut_form(value[0])}]"
    return _kind(value)


def _layer(key: str, names: Mapping[int, str]) -> str:
    return names[int(key)] if key.isdecimal() else key


def _kind(value: Any) -> str:
    return "number" if isinstance(value, Digits) else type(value).__name__


# --- the recorded answers ------------------------------------------------------------------------


def recorded_forms() -> dict[str, Any]:
    """Name of a recording -> its source, request, form, and digits."""
    return json.loads(PATH.read_bytes())


def _of_v2(name: str, golden: Path) -> dict[str, Any]:
    recorded = read(gzip.decompress((golden / f"{name}.json.gz").read_bytes()))
    items = [{"sequence": sequence} for sequence in recorded["sequences"]]
    return _whole(recorded["source"], V2_PARAMS[name] | {"items": items}, recorded["response"])


def _of_v3(file: Path) -> dict[str, Any]:
    recorded = read(file.read_bytes())
    source, request = recorded["source"], recorded["request_used"]
    if "response" in recorded:
        return _whole(source, request, recorded["response"])
    results = recorded["response_prefix"]["results"]
    return {"source": source, "request": request, "results": [_beginning(each) for each in results]}


def _whole(source: str, request: Any, response: Any) -> dict[str, Any]:
    digits = sorted(written(response), key=lambda number: abs(float(number)))
    spread = np.linspace(0, len(digits) - 1, min(SAMPLE, len(digits))).astype(int)
    sample = " ".join(digits[index] for index in spread)
    return {"source": source, "request": request, "form": form(response, THEIRS), "digits": sample}


def _beginning(result: dict[str, Any]) -> dict[str, Any]:
    """The form of a cut result, and those of its values that are no numbers of a model."""
    said = {
        key: [token for token in value if token != CUT] if isinstance(value, list) else value
        for key, value in result.items()
        if key in ("sequence_index", "sequence_tokens", "vocab_tokens")
    }
    return {"form": cut_form(result), "said": said}


def main() -> None:
    golden = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    forms = {name: _of_v2(name, golden) for name in V2_PARAMS}
    forms |= {file.stem: _of_v3(file) for file in sorted(golden.glob("v3_*.json"))}
    PATH.write_text(json.dumps(forms, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
