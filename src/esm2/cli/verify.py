"""`esm2 verify`: run a checkpoint against the reference numbers in the package.

    SLUG[=PATH] ──> verify.cases(SLUG) ──> runtime.open_model ──> verify.run ──> a table

Only weights that are here are verified; nothing is fetched, and what was not compared never passes.
Exit status: 0 when every difference is within its limit; 1 when one is not, when there are no
weights, or when there are no numbers to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.cli.options import say

if TYPE_CHECKING:
    from esm2 import loading
    from esm2.types import Decided
    from esm2.verify import Comparison


def verify(
    model: Annotated[
        str,
        typer.Argument(
            metavar="SLUG[=PATH]",
            help="Official model. With =PATH, a copy of its checkpoint somewhere else: a Hugging"
            " Face directory, or fair-esm's X.pt.",
        ),
    ],
    device: Annotated[
        str, typer.Option(help="auto (cuda when there is one), cpu or cuda.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32 (auto), bfloat16, int8 (CPU), float16 (CUDA).")
    ] = "auto",
) -> int:
    """Compare a checkpoint with published numbers, and print each difference and its limit.

    The exit status is 1 when a difference is over its limit, when there are no weights on this
    machine, and for models, like esm2-demo, of which no numbers were published.
    """
    from esm2 import loading, runtime
    from esm2 import verify as reference

    spec = loading.parse_spec(model)
    reference.cases(spec.slug)  # refuses a model without numbers before it is loaded
    _require_weights(spec)
    with runtime.open_model(model, device=device, dtype=dtype) as served:
        compared = reference.run(
            spec.slug,
            lambda requests: [served.submit(request).result() for request in requests],
        )
        print(_about(served.decided), _table(compared), _summary(compared), sep="\n\n")
    return 0 if all(comparison.passed for comparison in compared) else 1


def _require_weights(spec: loading.Spec) -> None:
    from esm2 import hub
    from esm2.catalog import find

    checkpoint = find(spec.slug)
    if spec.path is None and checkpoint is not None and hub.locate(checkpoint) is None:
        say(
            f"{spec.slug} was not verified: there are no weights to verify. To verify a checkpoint"
            f" elsewhere: esm2 verify {spec.slug}=PATH"
        )
        raise hub.weights_missing(checkpoint)


def _about(decided: Decided) -> str:
    pinned = "the hub's file, as pinned"
    copy = "not the hub's file: a copy in another format, or another checkpoint"
    return (
        f"{decided.slug} on {decided.device}, {decided.dtype}, {decided.kernel}\n"
        f"weights sha256 {decided.weights_sha256}"
        f" ({pinned if decided.weights_kind == 'official' else copy})"
    )


def _table(compared: Sequence[Comparison]) -> str:
    rows = [("recording", "output", "measure", "difference", "limit", "")]
    rows += [
        (
            comparison.case.name,
            comparison.case.label,
            comparison.case.measure,
            "-" if comparison.fault else f"{comparison.difference:.1e}",
            f"{comparison.limit:.1e}",
            "ok" if comparison.passed else "FAIL",
        )
        for comparison in compared
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _summary(compared: Sequence[Comparison]) -> str:
    failed = [comparison for comparison in compared if not comparison.passed]
    if not failed:
        return f"all {len(compared)} differences are within their limits"
    lines = [f"FAIL: {len(failed)} of {len(compared)} differences are not within their limits"]
    lines += [f"{c.case.name}: {c.fault}" for c in failed if c.fault]
    sources = {c.case.name: c.case.source for c in failed}
    lines += [f"{name} is from {source}" for name, source in sources.items()]
    return "\n".join(lines)
