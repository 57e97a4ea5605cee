"""Make the reference numbers that `esm2 verify` compares with, from the published originals.

    python tools/reference.py [GOLDEN]      writes src/esm2/reference/SLUG.npz, one for each slug

    <recording>/source        where the numbers were published, one line
    <recording>/precision     float32 | bfloat16 | printed (four decimals)
    <recording>/tokens        uint8 (L + 2,)
    <recording>/<kind>        logits  amino_logits  contacts  attentions  log_prob
    <recording>/<kind>/<n>    mean  per_token  bos, of layer n

An array is the output itself, or its leading corner where only that was published. `amino_logits`
are the 20 columns of the wire, `logits` all 33. The files hold no pickle and are stored
uncompressed with fixed times: the same originals always give the same bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from esm2.alphabet import tokenize
from esm2.catalog import CHECKPOINTS

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT.parent / "shared" / "golden"
DIRECTORY = ROOT / "src" / "esm2" / "reference"

TUTORIALS = "BioLM/tutorials-and-guides"
PAGE = "BioLM/py-biolm@v0.1.10:docs/model-docs/esm2/ESM2_API.rst, example answer (beginnings)"
FASTPLMS = "Synthyra/FastPLMs@1f78282:tests/goldens, fair-esm in bfloat16 on an H100"
TRANSFORMERS = "huggingface/transformers:tests/models/esm/test_modeling_esm.py"
LOG_PROB = "expected value in a comment of a public hackathon project on BioLM's ESM-2 650M code"

#: The protein of the v2 documentation; `{}` is its 19th residue, masked in its predict example.
#: One more residue differs between the two examples: YESLCRYRK in encode, YESLCQYRK in predict.
PROTEIN = (
    "MAETAVINHKKRKNSPRI{}QSNDLTEAAYSLSRDQKRMLYLFVDQIRKSDGTLQEHDGICEIHVAKYAEIFGLTSAEASKDIRQALKSFAGKEVVF"
    "YRPEEDAGDEKGYESFPWFIKRAHSPSRGLYSVHINPYLIPFFIGLQNRFTQFRLSETKEITNPYAMRLYESLC{}YRKPDGSGIVSLKIDWIIERYQ"
    "LPQSYQRMPDFRRRFLQVCVNEINSRTPMRLSYIEKKKGRQTTHIVFSFRDITSMTTG"
)

Array = NDArray[Any]


@dataclass
class Recording:
    """What somebody published for one sequence.

    Attributes:
        tokens: uint8 (L + 2,).
        arrays: "kind" or "kind/layer" -> the output, or its leading corner.
    """

    name: str
    source: str
    precision: str
    tokens: NDArray[np.uint8]
    arrays: dict[str, Array] = field(default_factory=dict)


def write(path: Path, recordings: list[Recording]) -> None:
    """Write an .npz whose bytes depend on its contents only."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for recording in recordings:
            parts: dict[str, Array] = {
                "source": np.array(recording.source),
                "precision": np.array(recording.precision),
                "tokens": recording.tokens,
                **recording.arrays,
            }
            for part, array in parts.items():
                member = zipfile.ZipInfo(f"{recording.name}/{part}.npy", (1980, 1, 1, 0, 0, 0))
                data = io.BytesIO()
                np.lib.format.write_array(data, np.array(array, order="C"), allow_pickle=False)
                archive.writestr(member, data.getvalue())


def recordings(slug: str, golden: Path) -> list[Recording]:
    """Every recording of a slug, in the order in which they are verified."""
    found = list(_fair_esm(slug, golden))
    if slug == "esm2-650m":
        found += [*_v2(golden), *_page(golden), *_log_probabilities(golden)]
    found += _v3(slug, golden)
    if slug == "esm2-8m":
        found += _transformers()
    return found


# --- fair-esm, by FastPLMs -----------------------------------------------------------------------


def _fair_esm(slug: str, golden: Path) -> Iterator[Recording]:
    """Last hidden state and logits of three sequences; only rows of residues are kept.

    They are accurate to the 8 bits of bfloat16; rounded to the 11 bits of float16 they stay so.
    """
    file = golden / f"fastplms_golden_{slug.replace('-', '_')}.safetensors"
    tensors = load_file(file)
    layer = next(known.shape.layers for known in CHECKPOINTS if known.slug == slug)
    for row, residues in enumerate(tensors["residue_mask"]):
        attended = tensors["input__attention_mask"][row].astype(bool)
        hidden = tensors["output__last_hidden_state"][row][residues]
        yield Recording(
            f"fair-esm-{residues.sum()}aa",
            FASTPLMS,
            "bfloat16",
            tensors["input__input_ids"][row][attended].astype(np.uint8),
            {
                f"per_token/{layer}": hidden.astype(np.float16),
                "logits": tensors["output__logits"][row][residues].astype(np.float16),
            },
        )


# --- answers of BioLM's API ----------------------------------------------------------------------


def _v2(golden: Path) -> Iterator[Recording]:
    for stem in ("default_246aa", "all_176aa"):
        file = golden / f"v2_esm2-650m_encode_{stem}.json.gz"
        recorded = json.loads(gzip.decompress(file.read_bytes()))
        (sequence,), (answer,) = recorded["sequences"], recorded["response"]["results"]
        arrays = {f"mean/{n}": _f4(mean) for n, mean in answer["mean_representations"].items()}
        for theirs, ours in _MAPS.items():
            if theirs in answer:
                arrays[ours] = _f4(answer[theirs])
        name = f"biolm-v2-{len(sequence)}aa"
        yield Recording(name, recorded["source"], "float32", tokenize(sequence), arrays)


def _v3(slug: str, golden: Path) -> Iterator[Recording]:
    """Full answers, and the beginnings of those of which nothing more was published.

    An answer without its request is left out: its sequence is not known.
    """
    for action in ("encode", "predict"):
        seen: list[str] = []
        for stem, key in ((action, "response"), (f"{action}_prefix", "response_prefix")):
            file = golden / f"v3_{slug}_{stem}.json"
            recorded = json.loads(file.read_text()) if file.exists() else {}
            items = (recorded.get("request_used") or {"items": []})["items"]
            for item, answer in zip(items, recorded[key]["results"] if items else [], strict=True):
                if item["sequence"] in seen:
                    continue
                seen.append(item["sequence"])
                yield Recording(
                    f"biolm-v3-{action}-{len(seen)}",
                    recorded["source"] + (" (beginnings)" if key == "response_prefix" else ""),
                    "float32",
                    tokenize(item["sequence"]),
                    _v3_arrays(answer),
                )


_MAPS = {"logits": "amino_logits", "contacts": "contacts", "attentions": "attentions"}


def _v3_arrays(answer: dict[str, Any]) -> dict[str, Array]:
    arrays = {f"mean/{e['layer']}": _f4(e["embedding"]) for e in answer.get("embeddings", [])}
    for entry in answer.get("bos_embeddings", []):
        arrays[f"bos/{entry['layer']}"] = _f4(entry["embedding"])
    for entry in answer.get("per_token_embeddings", []):
        arrays[f"per_token/{entry['layer']}"] = _f4(entry["embeddings"])
    return arrays | {ours: _f4(answer[their]) for their, ours in _MAPS.items() if their in answer}


def _page(golden: Path) -> Iterator[Recording]:
    """The first numbers of the two example answers of the v2 documentation."""
    first = json.loads((golden / "seed_spot_values.json").read_text())["seed"]
    encode, predict = PROTEIN.format("V", "R"), PROTEIN.format("<mask>", "Q")
    maps = {ours: _f4([first[theirs]]) for theirs, ours in _MAPS.items()}
    arrays = {"mean/33": _f4(first["mean"]), **maps}
    yield Recording("biolm-v2-page-encode", PAGE, "float32", tokenize(encode), arrays)
    logits = {"amino_logits": _f4([first["predict_logits"]])}
    yield Recording("biolm-v2-page-predict", PAGE, "float32", tokenize(predict), logits)


def _log_probabilities(golden: Path) -> Iterator[Recording]:
    """Sum over residues of log softmax over the 20 amino acids, at the true one, unmasked."""
    pairs = json.loads((golden / "seed_spot_values.json").read_text())["log_prob_650m"]
    for number, (sequence, value) in enumerate(pairs, 1):
        arrays = {"log_prob": np.array(value)}
        yield Recording(f"log-prob-{number}", LOG_PROB, "float32", tokenize(sequence), arrays)


def _f4(values: Any) -> Array:
    """The numbers as float32, without the notes that stand where a page cut them."""
    if isinstance(values, list) and isinstance(values[0], list):
        return np.stack([_f4(row) for row in values if not isinstance(row, str)])
    return np.array([value for value in values if not isinstance(value, str)], dtype=np.float32)


# --- transformers --------------------------------------------------------------------------------


def _transformers() -> Iterator[Recording]:
    """The corners of its integration test; its row 0 is BOS, whose logits we do not give.

    The token ids 0 to 5 are no protein: <pad> and <eos> stand among the residues, unmasked.
    """
    ids = np.arange(6, dtype=np.uint8)
    corner = {"logits": _f4([[-6.3967, -13.9114, -1.1212], [-7.7812, -13.9516, -3.7406]])}
    yield Recording("transformers-logits", TRANSFORMERS, "printed", ids, corner)
    ids = np.array([0, 6, 4, 13, 5, 4, 16, 12, 11, 7, 2], dtype=np.uint8)
    arrays = {
        "bos/6": _f4([0.1444, 0.5413, 0.3248]),
        "per_token/6": _f4([[0.3034, 0.0053, 0.3108], [0.3228, -0.2499, 0.3415]]),
    }
    yield Recording("transformers-hidden", TRANSFORMERS, "printed", ids, arrays)


def main() -> None:
    golden = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for checkpoint in CHECKPOINTS:
        path = DIRECTORY / f"{checkpoint.slug}.npz"
        write(path, recordings(checkpoint.slug, golden))
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
