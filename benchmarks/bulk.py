"""Bulk embedding of real proteins with esm2-demo: time, speed and peak memory, beside esm-extract.

    python -m benchmarks.bulk ../shared/data/proteins.fasta.gz

`esm2 embed` writes one .h5, and `esm2 extract` the .pt files of esm-extract, both with the mean of
the last layer, as processes of their own. The rival is fair-esm 2.0.0 with the loop of its
scripts/extract.py (batches of 4096 tokens, sorted by length, a .pt file a record) on the same
weights, in turn with ours and on the same records; it is slow, so it gets the first --rival of
them, which are a random sample. PEPE (`pip install pepe-cli==1.5.0`, left out where it is not) pads
every record to the longest of its file, so it gets the first --pepe. "engine" is ours without
reading to files and writing: the same process, the same records, embeddings thrown away. Peak
memory is the resident set at its highest (wait4). At last
the .h5 of a million synthetic records is written from a journal of their embeddings, without a
model: what the output costs when the input is long.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import esm2
from benchmarks.speed import machine
from esm2 import files
from esm2.alphabet import TOKENS
from esm2.catalog import DEMO_SLUG
from esm2.files import fasta
from esm2.loading import DEMO_DIRECTORY
from esm2.types import Outputs, Record

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks/results/bulk.json"
_AT_ONCE = 2_000  # sequences, as one call of a program
ESM2 = [sys.executable, "-c", "from esm2.cli import main; main()"]


def measure(command: Sequence[str | Path], **environment: str) -> dict[str, float]:
    """Run a command to its end: seconds on the clock, and the peak of its memory."""
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=os.environ | environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }


def rival(source: Path, directory: Path) -> None:
    """esm-extract with --include mean, in this process."""
    import torch
    from esm import FastaBatchedDataset
    from torch.utils.data import DataLoader

    from benchmarks.speed.rivals.fair_esm import load

    model = load(DEMO_DIRECTORY).model
    dataset = FastaBatchedDataset.from_file(source)
    batches = dataset.get_batch_indices(4096, extra_toks_per_seq=1)
    converter = model.alphabet.get_batch_converter(1022)
    loader = DataLoader(dataset, collate_fn=converter, batch_sampler=batches)
    layer = model.num_layers
    directory.mkdir()
    with torch.no_grad():
        for labels, strings, tokens in loader:
            hidden = model(tokens, repr_layers=[layer])["representations"][layer]
            for row, label in enumerate(labels):
                length = min(1022, len(strings[row]))
                mean = hidden[row, 1 : length + 1].mean(0).clone()
                content = {"label": label, "mean_representations": {layer: mean}}
                torch.save(content, directory / f"{label.replace('/', '_')}.pt")


def engine(source: Path) -> None:
    """Embed the records and keep nothing, in this process."""
    with esm2.load(DEMO_SLUG) as model:
        sequences = [record.sequence for record in fasta.read(source)]
        for start in range(0, len(sequences), _AT_ONCE):
            model.embed(sequences[start : start + _AT_ONCE])


def pepe(source: Path, work: Path) -> tuple[list[str | Path], dict[str, str]]:
    """PEPE's command, and the environment in which it takes our weights for those of the hub."""
    name = "esm2_t6_8M_UR50D"  # the hub's name that it is asked for; the shape is in the config
    cache = work / "hub" / f"models--facebook--{name}"
    snapshot = cache / "snapshots" / "demo"
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("demo")
    for file in ("config.json", "model.safetensors"):
        shutil.copy(DEMO_DIRECTORY / file, snapshot)
    (snapshot / "vocab.txt").write_text("\n".join(TOKENS))
    settings = {"tokenizer_class": "EsmTokenizer"}
    (snapshot / "tokenizer_config.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pepe", "--model_name", f"facebook/{name}"]
    asked = ["--extract_embeddings", "mean_pooled", "--device", "cpu"]
    paths = ["--fasta_path", source, "--output_path", work / "pepe"]
    return [*command, *asked, *paths], {"HF_HUB_CACHE": str(work / "hub"), "HF_HUB_OFFLINE": "1"}


def million(work: Path, records: int = 1_000_000) -> None:
    """Keep and write embeddings of synthetic records, in this process."""
    run = files.Run(
        model=DEMO_SLUG,
        weights_sha256="0" * 64,
        weights_kind="demo",
        device="cpu",
        dtype="float32",
        include=("mean",),
        layers=(6,),
        dim=192,
        long="error",
        max_residues=2048,
        format=".h5",
        keys="id",
    )
    vector = np.random.default_rng(0).random(192, np.float32)
    with files.Journal(work / "million.h5", run) as journal:
        for i in range(records):
            name = f"sp|P{i:07d}|SYNTHETIC"
            record = Record(name, f"{name} a protein", "MKTAYIAKQR", 2 * i + 1)
            journal.add(record, Outputs(mean={6: vector}), length=10, used=10, windows=1)
        files.duplicates(journal)
        files.commit(work / "million.h5", journal, {"esm2": "benchmark"})


def sample(source: Path, target: Path, count: int) -> dict[str, int]:
    """The first records of a file, plain, two lines each."""
    records = residues = 0
    with target.open("w") as out:
        for record in itertools.islice(fasta.read(source), count):
            out.write(f">{record.header}\n{record.sequence}\n")
            records += 1
            residues += len(record.sequence)
    return {"records": records, "residues": residues}


def contest(given: argparse.Namespace, work: Path) -> Iterator[dict[str, Any]]:
    """All runs, in turn; of each its row."""
    whole, part = work / "whole.fasta", work / "part.fasta"
    sizes = {whole: sample(given.fasta, whole, given.records)}
    sizes[part] = sample(given.fasta, part, given.rival)
    few = work / "few.fasta"
    sizes[few] = sample(given.fasta, few, given.pepe)
    ours = [*ESM2, "extract", DEMO_SLUG]
    itself = [sys.executable, "-m", "benchmarks.bulk"]
    last = ["--include", "mean", "--repr_layers", "-1"]
    runs: list[tuple[str, Path, Sequence[str | Path], dict[str, str]]] = [
        ("esm2 embed, .h5", whole, [*ESM2, "embed", whole, "-o", work / "whole.h5", "-q"], {}),
        ("engine", part, [*itself, "--engine", part], {}),
        ("esm2 embed, .h5", part, [*ESM2, "embed", part, "-o", work / "part.h5", "-q"], {}),
        ("esm2 extract, .pt", part, [*ours, part, work / "pt", *last], {}),
        ("esm-extract, .pt", part, [*itself, "--one", part, work / "rival"], {}),
        ("esm2 embed, .npz", few, [*ESM2, "embed", few, "-o", work / "few.npz", "-q"], {}),
    ]
    if find_spec("pepe"):
        runs.append(("PEPE 1.5.0, .npy", few, *pepe(few, work)))
    for name, source, command, environment in runs:
        row = {"what": name, **sizes[source], **measure(command, **environment)}
        yield {**row, "residues_per_second": round(row["residues"] / row["seconds"])}
    spent = measure([*itself, "--million", work])
    yield {"what": "writing .h5, no model", "records": 1_000_000, **spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fasta", type=Path, nargs="?")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rival", type=int, default=5_000)
    parser.add_argument("--pepe", type=int, default=300)
    parser.add_argument("--engine", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--million", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        rival(*given.one)
    elif given.engine:
        engine(given.engine)
    elif given.million:
        million(given.million)
    elif given.fasta is None:
        parser.error("name a FASTA file")
    else:
        how = {
            "command": f"python -m benchmarks.bulk FASTA --records {given.records}"
            f" --rival {given.rival} --pepe {given.pepe}",
            "machine": machine.identity(),
            "software": machine.software("default"),
        }
        with tempfile.TemporaryDirectory() as work:
            for row in contest(given, Path(work)):
                print(json.dumps(row), flush=True)
                keep(row, how)


def keep(row: dict[str, Any], how: dict[str, Any]) -> None:
    """Put a row into the result file, instead of the same of this machine that is there."""
    runs = json.loads(RESULT.read_text())["runs"] if RESULT.exists() else []
    for run in runs:
        if run["machine"]["name"] == how["machine"]["name"]:
            run["rows"] = [old for old in run["rows"] if not _same(old, row)]
    if runs and {**runs[-1], "rows": []} == {**how, "rows": []}:
        runs[-1]["rows"].append(row)
    else:
        runs.append({**how, "rows": [row]})
    content = {"runs": [run for run in runs if run["rows"]]}
    RESULT.write_text(json.dumps(content, indent=2) + "\n")


def _same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return all(old[name] == new[name] for name in ("what", "records"))


def tables() -> str:
    """The figures as docs/embedding.md has them."""
    return "\n".join(map(_table, json.loads(RESULT.read_text())["runs"]))


def _table(run: dict[str, Any]) -> str:
    lines = [
        f"{run['machine']['cpu']}, {run['machine']['cores']} cores, `{run['command']}`:\n",
        "| | proteins | residues/s | seconds | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in run["rows"]:
        speed = f"{row['residues_per_second']:,}" if "residues_per_second" in row else ""
        lines.append(
            f"| {row['what']} | {row['records']:,} | {speed} | {row['seconds']:.1f}"
            f" | {row['peak_mb']:.0f} MB |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
