"""Verification: a checkpoint, run and compared with numbers that others published for it.

    reference/SLUG.npz     recordings: a sequence, and arrays that somebody published for it
         |  cases
    [Case]                 one array, how to measure the difference from it, and the limit
         |  run            one forward pass for each recording, over the seam `types.Executor`
    [Comparison]           difference <= limit, or FAIL

The files hold data, this module holds judgement: what is measured and what is allowed. Nothing
passes without having been compared: what is absent, misshapen or not finite fails.

Where the numbers come from: reference/README.md. How the files are laid out: tools/reference.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esm2.alphabet import AMINO_ACID_COLUMNS, residue_tokens
from esm2.catalog import SLUGS, Shape, find
from esm2.errors import ContactsUnavailable, LogitsUnavailable, NoReference
from esm2.numerics import published
from esm2.science.scoring import log_prob
from esm2.types import OUTPUTS, Executor, ForwardRequest, Outputs, Want

Array = NDArray[np.float64]

_DIRECTORY = Path(__file__).with_name("reference")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One published array and what a checkpoint may differ from it.

    Attributes:
        name: of the recording; cases of one recording share their tokens.
        source: where it was published, one line.
        tokens: uint8 (L + 2,).
        kind: an output's name, or "amino_logits" (the 20 columns of the wire) or "log_prob" (sum
            over residues of log softmax over the 20 amino acids, at the true one).
        layer: of an embedding, or None.
        shape: of the output that the kind is taken from, whole.
        expected: the published numbers; the leading corner where not all were published.
        measure: how the difference is measured, a name in MEASURES.
        limit: the largest difference that passes.
    """

    name: str
    source: str
    tokens: NDArray[np.uint8]
    kind: str
    layer: int | None
    shape: tuple[int, ...]
    expected: Array
    measure: str
    limit: float

    @property
    def output(self) -> str:
        """The output of `types.Outputs` that is looked at."""
        return "logits" if self.kind in ("amino_logits", "log_prob") else self.kind

    @property
    def label(self) -> str:
        """What is compared, for people."""
        return self.kind if self.layer is None else f"{self.kind}, layer {self.layer}"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A case and what came of it.

    Attributes:
        difference: as the case measures it; NaN where nothing could be measured.
        fault: one sentence, where nothing could be measured.
    """

    case: Case
    difference: float
    fault: str = ""

    @property
    def limit(self) -> float:
        return self.case.limit

    @property
    def passed(self) -> bool:
        return self.difference <= self.limit  # False for NaN


# --- what is measured; numerics says what is allowed ---------------------------------------------


def _largest(got: Array, expected: Array) -> float:
    return float(np.abs(got - expected).max())


def _relative(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def _cosine(got: Array, expected: Array) -> float:
    return float(1 - _cosines(got, expected))


def _pooled_cosine(got: Array, expected: Array) -> float:
    return _cosine(got.mean(0), expected.mean(0))


def _residue_cosine(got: Array, expected: Array) -> float:
    return float(1 - np.percentile(_cosines(got, expected), 1))


def _cosines(got: Array, expected: Array) -> Array:
    """Cosines of rows; NaN, which never passes, where one of them is zero."""
    norms = np.linalg.norm(got, axis=-1) * np.linalg.norm(expected, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((got * expected).sum(-1) / norms)


#: Name of a measure -> (got, expected) -> difference, 0 for equal arrays. p1 is the cosine that one
#: residue in a hundred falls below, pooled the cosine of the means over residues.
MEASURES: dict[str, Callable[[Array, Array], float]] = {
    "largest": _largest,
    "1 - cosine": _cosine,
    "1 - cosine, p1": _residue_cosine,
    "1 - cosine, pooled": _pooled_cosine,
    "relative L2": _relative,
}


# --- cases ---------------------------------------------------------------------------------------


def cases(slug: str) -> list[Case]:
    """Everything a checkpoint of that slug is compared with.

    Raises:
        NoReference: nobody published numbers for it: it is not an official checkpoint.
    """
    checkpoint = find(slug)
    if checkpoint is None:
        raise NoReference(slug, SLUGS)
    return read(_DIRECTORY / f"{checkpoint.slug}.npz", checkpoint.shape)


def read(path: Path, shape: Shape) -> list[Case]:
    """The cases of a reference file, in its order.

    Args:
        path: an .npz as tools/reference.py writes it.
        shape: of the checkpoint.
    """
    with np.load(path, allow_pickle=False) as archive:
        names = [name.split("/", 1) for name in archive.files]
        return [
            case
            for recording, parts in groupby(names, key=lambda name: name[0])
            for case in _cases_of(
                recording, {part: archive[f"{recording}/{part}"] for _, part in parts}, shape
            )
        ]


def _cases_of(name: str, parts: dict[str, NDArray[Any]], shape: Shape) -> Iterator[Case]:
    source, precision = (str(parts.pop(about)) for about in ("source", "precision"))
    tokens = parts.pop("tokens")
    residues = len(residue_tokens(tokens))
    shapes: dict[str, tuple[int, ...]] = {
        kind: about.shape(shape, residues) for kind, about in OUTPUTS.items()
    }
    shapes |= dict.fromkeys(("amino_logits", "log_prob"), shapes["logits"])
    for part, array in parts.items():
        kind, _, layer = part.partition("/")
        expected = array.astype(np.float64)
        scale = max(1.0, float(np.abs(expected).max()))
        whole = expected.shape == shapes[kind]
        for measure, limit in published(precision, kind, scale, whole).items():
            yield Case(
                name=name,
                source=source,
                tokens=tokens,
                kind=kind,
                layer=int(layer) if layer else None,
                shape=shapes[kind],
                expected=expected,
                measure=measure,
                limit=limit * (residues if kind == "log_prob" else 1),
            )


# --- comparing -----------------------------------------------------------------------------------


def run(slug: str, executor: Executor) -> list[Comparison]:
    """Run a model and compare it with everything published for its slug. Errors: see `cases`."""
    return check(cases(slug), executor)


def check(wanted: Sequence[Case], executor: Executor) -> list[Comparison]:
    """Run a model, one recording at a time, and compare.

    A checkpoint without a head fails what that gives and is compared in all the rest.
    """
    compared: list[Comparison] = []
    for _, recording in groupby(wanted, key=lambda case: case.name):
        own = list(recording)
        outputs, refused = _forward(ForwardRequest(own[0].tokens, _want(own)), executor)
        compared += [
            Comparison(case, np.nan, refused[case.output])
            if case.output in refused
            else compare(case, outputs)
            for case in own
        ]
    return compared


def compare(case: Case, outputs: Outputs) -> Comparison:
    """Compare one case with what was computed for its tokens."""
    found = getattr(outputs, case.output)
    output = found if case.layer is None else found.get(case.layer)
    if output is None:
        return Comparison(case, np.nan, f"no {case.label}: the model gave none")
    if output.shape != case.shape:
        fault = f"{case.label} has shape {output.shape}, expected {case.shape}"
        return Comparison(case, np.nan, fault)
    if not np.isfinite(output).all():
        return Comparison(case, np.nan, f"{case.label} holds NaN or infinity")
    got = _derived(case, output.astype(np.float64))
    corner = got[tuple(slice(size) for size in case.expected.shape)]
    return Comparison(case, MEASURES[case.measure](corner, case.expected))


def _want(wanted: Sequence[Case]) -> Want:
    outputs = {case.output for case in wanted}
    layers = {case.layer for case in wanted if case.layer is not None}
    return Want.of(outputs, tuple(sorted(layers)))


def _forward(request: ForwardRequest, executor: Executor) -> tuple[Outputs, dict[str, str]]:
    """The outputs, and those that were refused for want of a head: output -> why."""
    refused: dict[str, str] = {}
    while True:
        try:
            (outputs,) = executor([request])
            return outputs, refused
        except ContactsUnavailable as error:
            refused["contacts"] = str(error)
            request = replace(request, want=replace(request.want, contacts=False))
        except LogitsUnavailable as error:
            refused["logits"] = str(error)
            request = replace(request, want=replace(request.want, logits=False))


def _derived(case: Case, output: Array) -> Array:
    """What was published, from the output that it is taken from."""
    if case.kind == "amino_logits":
        return output[:, AMINO_ACID_COLUMNS]
    if case.kind == "log_prob":
        return np.array(log_prob(output, case.tokens))
    return output
