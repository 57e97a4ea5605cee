"""What esm2-demo has learned, measured with the engine, in float32, on proteins it has not seen.

    python -m training.evaluate DATA CHECKPOINT      prints one JSON object

Masked perplexity: 15 % of the residues of each held-out protein are chosen and all of them masked;
exp of the mean negative log-probability, over the 20 natural amino acids. Beside it, at the same
positions, what needs no model: residue frequencies, and the frequencies of a residue after its left
neighbour (which is looked at even where it is masked, to the baseline's advantage).

A protein against its own shuffle: 15 % of a short protein are a dozen residues, too few to tell
two perplexities apart, so every residue is masked once, a seventh of them at a time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esm2.alphabet import AMINO_ACID_COLUMNS, MASK, TOKENS, residue_tokens, tokenize
from esm2.engine.engine import Engine
from esm2.types import ForwardRequest, Want
from training.contacts import LONG_RANGE, precision, read_structures
from training.proteins import (
    Batch,
    hidden_once,
    homologues,
    natural_residues,
    read_tokens,
)

_SHUFFLES, _MASKS = 1, 2  # seeds
_FIRST = AMINO_ACID_COLUMNS.start
_PACK_TOKENS = 4096
_PARTS = 7


def evaluate(data: Path, checkpoint: Path) -> dict[str, Any]:
    """All figures of a checkpoint."""
    engine = Engine.load(checkpoint, "evaluated", device="cpu")
    held_out = data / "valid.fasta.gz"
    proteins = read_tokens(held_out)
    batches = hidden_once(proteins)
    real = _nats_of_all_residues(engine, proteins)
    shuffled = _nats_of_all_residues(engine, _shuffled(proteins))
    training = read_tokens(data / "proteins.fasta.gz", without=homologues())
    by_frequency, by_neighbour = _baselines(training, proteins, batches)
    return {
        "weights_sha256": engine.decided.weights_sha256,
        "held_out_proteins": len(proteins),
        "masked_residues": len(by_frequency),
        "masked_perplexity": masked_perplexity(engine, held_out),
        "pairs": {
            "real_below_shuffled": round(float((real < shuffled).mean()), 3),
            "mean_real_perplexity": round(float(np.exp(real).mean()), 3),
            "mean_shuffled_perplexity": round(float(np.exp(shuffled).mean()), 3),
        },
        "frequency_perplexity": _perplexity(by_frequency),
        "bigram_perplexity": _perplexity(by_neighbour),
        "contacts": _contacts(engine, data / "structures"),
    }


def masked_perplexity(engine: Engine, held_out: Path) -> float:
    """That of the proteins of a FASTA file, 15 % of the residues masked, the same at every call."""
    nats = _nats_of_each(engine, hidden_once(read_tokens(held_out)))
    return _perplexity(np.concatenate(nats))


def _nats_of_all_residues(
    engine: Engine, proteins: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float64]:
    """The mean negative log-probability of each protein's residues: (B,)."""
    generator = np.random.default_rng(_MASKS)
    parts = [batch for tokens in proteins for batch in _sevenths(tokens, generator)]
    nats = _nats_of_each(engine, parts)
    owns = (nats[first : first + _PARTS] for first in range(0, len(nats), _PARTS))
    return np.array([np.concatenate(own).mean() for own in owns])


def _sevenths(tokens: NDArray[np.uint8], generator: np.random.Generator) -> Iterator[Batch]:
    """A protein seven times, another seventh of its natural residues masked each time."""
    whole = tokens.astype(np.int64)
    natural = generator.permutation(natural_residues(whole))
    for part in range(_PARTS):
        picked = np.sort(natural[part::_PARTS])
        masked = whole.copy()
        masked[picked] = MASK
        yield Batch(masked[None], picked, whole[picked])


def _perplexity(nats: NDArray[np.float64]) -> float:
    return round(float(np.exp(nats.mean())), 3)


def _shuffled(proteins: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Each protein with its residues in another order."""
    generator = np.random.default_rng(_SHUFFLES)
    shuffles = [tokens.copy() for tokens in proteins]
    for tokens in shuffles:
        generator.shuffle(residue_tokens(tokens))
    return shuffles


def _nats_of_each(engine: Engine, batches: Sequence[Batch]) -> list[NDArray[np.float64]]:
    """The negative log-probability of each masked residue, protein by protein."""
    order = sorted(range(len(batches)), key=lambda index: batches[index].tokens.size)
    nats: dict[int, NDArray[np.float64]] = {}
    while order:
        pack: list[int] = []
        while order and (
            not pack or sum(batches[i].tokens.size for i in [*pack, order[-1]]) <= _PACK_TOKENS
        ):
            pack.append(order.pop())
        requests = [
            ForwardRequest(batches[i].tokens[0].astype(np.uint8), Want(logits=True)) for i in pack
        ]
        for index, outputs in zip(pack, engine.run(requests), strict=True):
            assert outputs.logits is not None
            batch = batches[index]
            columns = outputs.logits[batch.picked - 1, AMINO_ACID_COLUMNS].astype(np.float64)
            totals = np.logaddexp.reduce(columns, axis=1)
            rows = np.arange(len(columns))
            nats[index] = totals - columns[rows, batch.targets - _FIRST]
    return [nats[index] for index in range(len(batches))]


def _baselines(
    training: Sequence[NDArray[np.uint8]],
    proteins: Sequence[NDArray[np.uint8]],
    batches: Sequence[Batch],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nats at the masked positions, from residue frequencies and from left neighbours."""
    after = np.zeros((len(TOKENS), len(TOKENS)))
    for tokens in training:
        np.add.at(after, (tokens[:-1], tokens[1:]), 1)
    pairs = after[:, AMINO_ACID_COLUMNS] + 1
    bigram = np.log(pairs / pairs.sum(axis=1, keepdims=True))
    single = np.log(pairs.sum(axis=0) / pairs.sum())
    left = np.concatenate([t[b.picked - 1] for t, b in zip(proteins, batches, strict=True)])
    targets = np.concatenate([batch.targets for batch in batches]) - _FIRST
    return -single[targets], -bigram[left, targets]


def _contacts(engine: Engine, directory: Path) -> dict[str, Any]:
    """Long-range precision on the structures that the contact head was not fitted on."""
    fitted, unseen = read_structures(directory)
    rows = []
    for structure in unseen:
        request = ForwardRequest(tokenize(structure.sequence), Want(contacts=True))
        [outputs] = engine.run([request])
        assert outputs.contacts is not None
        rows.append(precision(outputs.contacts, structure.contacts))
    found, random = np.mean(rows, axis=0)
    return {
        "fitted_on": len(fitted),
        "unseen_structures": len(unseen),
        "separation": LONG_RANGE,
        "precision_at_L": round(float(found), 4),
        "random_precision": round(float(random), 4),
        "ratio": round(float(found / random), 2),
        "better_than_random": sum(p > q for p, q in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="directory of valid.fasta.gz and structures/")
    parser.add_argument("checkpoint", type=Path, help="Hugging Face directory")
    arguments = parser.parse_args()
    print(json.dumps(evaluate(arguments.data, arguments.checkpoint), indent=2))


if __name__ == "__main__":
    main()
