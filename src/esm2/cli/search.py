"""`esm2 search`: the nearest neighbours of embeddings among others, as a table.

    QUERY ──files.read──> blocks ─┐
                                  ├──> science.search.Nearest ──> OUT.tsv
    DB    ──files.read──> blocks ─┘

The columns are EAT's without its labels: Query-ID, Lookup-ID, "Embedding distance" (or "Cosine
similarity") and Nearest-Neighbor-Idx, counted from 1. Memory holds a block of both, and all ids of
DB, which is read once for each block of QUERY.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from esm2.catalog import CAVEATS
from esm2.cli import options, progress, tables
from esm2.cli.options import counted, say, shown
from esm2.errors import FileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from esm2.files import Stored
    from esm2.science.search import Metric, Nearest
    from esm2.types import Float

    Block = tuple[list[str], Float]

_QUERIES = 4096  # in a block
_COLUMNS = {"cosine": "Cosine similarity", "euclidean": "Embedding distance"}


def search(
    query: Annotated[
        Path,
        typer.Argument(
            metavar="QUERY", help="Embeddings: .h5, .parquet, .npz, .safetensors, .h5ad."
        ),
    ],
    db: Annotated[
        Path, typer.Argument(metavar="DB", help="Embeddings to search, made in the same way.")
    ],
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours of each query.")] = 3,
    metric: Annotated[
        Literal["cosine", "euclidean"], typer.Option(help="What nearest means.")
    ] = "cosine",
    exclude_self: Annotated[
        bool,
        typer.Option("--exclude-self", help="Leave out neighbours that have the id of the query."),
    ] = False,
    any_dtype: Annotated[
        bool,
        typer.Option(
            "--any-dtype", help="Compare files that were computed in different dtypes, too."
        ),
    ] = False,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.tsv", help="Table to write; - is standard output."
        ),
    ] = Path(tables.STDOUT),
    quiet: options.Quiet = False,
) -> None:
    """Find the nearest neighbours of each embedding of a file among those of another.

    Both are files that `esm2 embed` wrote, with one vector for each record, by the same weights
    and of the same layer. Every pair is compared, without an index. Of neighbours that are equally
    near the earlier in DB comes first.
    """
    if str(output) != tables.STDOUT and tables.ending(output) != ".tsv":
        message = f"{output} has no ending that is known here; use .tsv or .tsv.gz"
        raise typer.BadParameter(message, param_hint="--output")

    from esm2 import files
    from esm2.science.search import BLOCK, Nearest

    queries, targets = files.read(query), files.read(db)
    _check(queries, targets, any_dtype=any_dtype)
    done, count = 0, 0
    with tables.written(output) as out, progress.shown(quiet) as advance:
        table = csv.writer(out, delimiter="\t", lineterminator="\n")
        for block in _blocks(queries, metric, _QUERIES):
            found = Nearest(block[1], k, metric)
            ids: list[str] = []
            for own in _blocks(targets, metric, BLOCK):
                found.add(own[1], _same_ids(block[0], own[0]) if exclude_self else None)
                ids += own[0]
                advance(partial(_line, done, found.count, db))
            _check_enough(found, k, db, exclude_self=exclude_self)
            if not done:
                table.writerow(["Query-ID", "Lookup-ID", _COLUMNS[metric], "Nearest-Neighbor-Idx"])
            for row, name in enumerate(block[0]):
                near = zip(found.indices[row].tolist(), found.values[row].tolist(), strict=True)
                for rank, (index, value) in enumerate(near, 1):
                    table.writerow([name, ids[index], tables.number(value), rank])
            done, count = done + len(block[0]), found.count
        if not done:
            raise FileError(query, "read", "there are no records in it")
    if not quiet:
        each = f"{k} nearest ({metric}) to each of {counted(done, 'record')} of {query}"
        caveat = f"; {note}" if (note := CAVEATS[queries.weights_kind]) else ""
        by = f"{shown(queries.model)}, {queries.dtype}{caveat}"
        say(f"{tables.name_of(output)}: {each}, among {count:,} of {db}; {by}")


def _line(done: int, seen: int, db: Path, _seconds: float) -> str:
    return f"{done:,} queries done, {seen:,} records of {db} seen for the next"


def _check(queries: Stored, targets: Stored, *, any_dtype: bool) -> None:
    """Refuse files that were not made in the same way.

    Raises:
        FileError: it says what differs.
    """
    differences = queries.differences(targets)
    if queries.dtype != targets.dtype:
        text = f"dtype is {queries.dtype} here and {targets.dtype} there"
        if any_dtype:
            say(f"{queries.path} and {targets.path}: {text}")
        else:
            differences.append(f"{text} (--any-dtype compares them nevertheless)")
    if differences:
        reason = f"it was not made as {targets.path} was: {'; '.join(differences)}"
        raise FileError(queries.path, "compare", reason)


def _blocks(stored: Stored, metric: Metric, size: int) -> Iterator[Block]:
    """Its records, each of them near to something.

    Raises:
        FileError: naming one that is not.
    """
    from esm2.science.search import faulty

    for ids, vectors in stored.blocks(size):
        if fault := faulty(vectors, metric):
            row, reason = fault
            raise FileError(stored.path, "search", f"record {shown(ids[row])} {reason}")
        yield ids, vectors


def _same_ids(queries: Sequence[str], targets: Sequence[str]) -> NDArray[np.bool_]:
    """(q, b): where they are equal."""
    import numpy as np

    rows: dict[str, list[int]] = {}
    for row, name in enumerate(queries):
        rows.setdefault(name, []).append(row)
    same = np.zeros((len(queries), len(targets)), dtype=bool)
    for column, name in enumerate(targets):
        same[rows.get(name, []), column] = True
    return same


def _check_enough(found: Nearest, k: int, db: Path, *, exclude_self: bool) -> None:
    """Refuse to write fewer neighbours than were asked for.

    Raises:
        FileError: DB has not so many.
    """
    if found.count < k:
        reason = f"it has {counted(found.count, 'record')}, fewer than the {k} of -k"
        raise FileError(db, "search", reason)
    if exclude_self and (found.indices < 0).any():
        reason = f"without those of the query's own id it has fewer than the {k} records of -k"
        raise FileError(db, "search", reason)
