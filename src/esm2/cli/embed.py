"""`esm2 embed`: embeddings of every record of a FASTA file, into one .npz.

    FASTA ──fasta.read──> bulk.embed ──> store.Writer ──> OUT.npz
                             │    └── submit: a model in this process, or with --url a server's
                             └── a record that cannot be embedded: told, counted, left out

Nothing is computed before the input has a first record and the output can be written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esm2 import __version__
from esm2.catalog import DEMO_SLUG
from esm2.errors import RequestError

if TYPE_CHECKING:
    from esm2.bulk import Embedded
    from esm2.client.remote import Remote
    from esm2.runtime import Served
    from esm2.store import Writer
    from esm2.types import Decided, Want

_KINDS = ("mean", "per_token", "bos")

# Packs' worth of records in flight: the engine always finds a full pack waiting.
_PACKS_IN_FLIGHT = 8
# Bytes of finished outputs that may wait for an older record; two packs are allowed in any case.
_BYTES_IN_FLIGHT = 1 << 30

_DUPLICATES_SHOWN = 5


def embed(
    fasta: Annotated[
        str,
        typer.Argument(
            metavar="FASTA",
            help="Protein sequences: a FASTA file, plain or compressed (gzip, xz, zstd), or - for"
            " standard input.",
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT.npz", help="File to write, for numpy.load."),
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="SLUG[=PATH]", help="Model, see `esm2 models`.")
    ] = DEMO_SLUG,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND,...",
            help="What to write: mean (over the residues), per_token (each residue), bos (the"
            " start token). Repeat, or separate by commas.  [default: mean]",
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER,...",
            help="Layers: 0 is the embedding, -1 the last. Repeat, or separate by commas."
            "  [default: -1]",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (cuda when there is one), cpu or cuda.")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help="auto or float32.")] = "auto",
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Let a server compute, such as http://127.0.0.1:8000; no torch is needed here."
            " If it wants a token, put that into the variable BIOLMAI_TOKEN. A server does not"
            " embed sequences with a <mask>.",
        ),
    ] = None,
    max_residues: Annotated[
        int, typer.Option(min=1, help="Longer records are refused; none is ever truncated.")
    ] = 2048,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Tell only what went wrong.")
    ] = False,
) -> int:
    """Embed the records of a FASTA file, in their order, into one .npz.

    A record that cannot be embedded is told and left out; the exit status is then 1.
    """
    kinds = _kinds(include or ["mean"])
    indices = _indices(layers or ["-1"])
    _check_output(output, fasta)
    _check_place(url, model, device, dtype)

    from esm2 import bulk, store
    from esm2 import fasta as fasta_file
    from esm2.types import Want

    with closing(fasta_file.read(fasta)) as records, store.Writer(output) as out:
        first = next(records)
        with _opened(url, model, device, dtype) as served:
            decided = served.decided
            resolved = sorted({decided.shape.layer(index) for index in indices})
            want = Want(tuple(resolved), **dict.fromkeys(kinds, True))
            results = bulk.embed(
                chain([first], records),
                want,
                served.submit,
                max_residues=max_residues,
                in_flight_tokens=_in_flight_tokens(decided, want),
            )
            started = time.perf_counter()
            with closing(results):
                refused = _write(results, out, fasta, quiet)
            seconds = time.perf_counter() - started
        if not out.count:
            raise RequestError(
                f"no record of {fasta} could be embedded ({refused} refused); {output} was not"
                " written"
            )
        _report_duplicates(out)
        out.commit(_meta(decided, want, kinds, fasta))
    if refused or not quiet:
        _say(_summary(out, seconds, decided, refused))
    return 1 if refused else 0


# --- arguments ---------------------------------------------------------------------------------


def _kinds(values: Sequence[str]) -> list[str]:
    kinds = [word.replace("-", "_") for word in _words(values)]
    for kind in kinds:
        if kind not in _KINDS:
            raise typer.BadParameter(
                f"{kind!r} is not one of {', '.join(_KINDS)}", param_hint="--include"
            )
    return [kind for kind in _KINDS if kind in kinds]


def _indices(values: Sequence[str]) -> list[int]:
    indices = []
    for word in _words(values):
        try:
            indices.append(int(word))
        except ValueError:
            message = f"{word!r} is not a layer; layers are numbers, like 0 or -1"
            raise typer.BadParameter(message, param_hint="--layers") from None
    return indices


def _words(values: Sequence[str]) -> Iterator[str]:
    """`--x a,b --x c` -> a, b, c."""
    for value in values:
        yield from (word.strip() for word in value.split(","))


def _check_output(output: Path, fasta: str) -> None:
    if output.suffix != ".npz":
        raise typer.BadParameter(
            f"{output} has no ending that is known here; files can be written as .npz",
            param_hint="--output",
        )
    same = False
    with suppress(OSError):  # one of them is not there, or may not be looked at: told later
        same = output.samefile(fasta)
    if same:
        raise typer.BadParameter(f"{output} is the input file", param_hint="--output")


def _check_place(url: str | None, model: str, device: str, dtype: str) -> None:
    """With a server, nothing may be asked for that only means something here."""
    if url is None:
        return
    for name, value in (("--device", device), ("--dtype", dtype)):
        if value != "auto":
            raise typer.BadParameter("with --url, the server decides", param_hint=name)
    if "=" in model:
        raise typer.BadParameter(
            "with --url, give the SLUG alone: the server has the checkpoint", param_hint="--model"
        )


# --- work --------------------------------------------------------------------------------------


def _opened(
    url: str | None, model: str, device: str, dtype: str
) -> AbstractContextManager[Served | Remote]:
    """The model: in this process, or that of a server."""
    if url is not None:
        from esm2.client.remote import open_remote

        return open_remote(url, model)
    from esm2.runtime import open_model

    return open_model(model, device=device, dtype=dtype, on_fetch=_say)


def _in_flight_tokens(decided: Decided, want: Want) -> int:
    token_bytes = 4 * decided.shape.dim * len(want.layers) if want.per_token else 1
    packs = min(_PACKS_IN_FLIGHT, _BYTES_IN_FLIGHT // (token_bytes * decided.pack_tokens))
    return max(packs, 2) * decided.pack_tokens


def _write(results: Iterable[Embedded], out: Writer, source: str, quiet: bool) -> int:
    """Write what came out well, tell the rest, and count that."""
    refused = 0
    with _progress(quiet) as advance:
        for item in results:
            if isinstance(item.result, RequestError):
                refused += 1
                place = f"{source}, line {item.record.line}, record {_shown(item.record.id)}"
                _say(f"{place}: {item.result}")
            else:
                out.add(item.record.id, item.residues, item.result)
            advance(out)
    return refused


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Writer], None]]:
    """A line that is kept up to date on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    started = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as live:
        task = live.add_task("embedding")

        def advance(out: Writer) -> None:
            rate = out.residues / (time.perf_counter() - started)
            live.update(
                task,
                description=f"{out.count:,} records, {out.residues:,} residues, {rate:,.0f}/s",
            )

        yield advance


# --- what is told ------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _shown(text: str) -> str:
    """An id for a terminal: a file must not be able to move the cursor."""
    return text if text.isprintable() else ascii(text)


def _report_duplicates(out: Writer) -> None:
    duplicates = out.duplicates()
    if not duplicates:
        return
    shown = [f"{_shown(name)} ({count} times)" for name, count in duplicates.items()]
    hidden = len(shown) - _DUPLICATES_SHOWN
    more = f" and {hidden} more" if hidden > 0 else ""
    _say(
        f"ids that occur more than once (all their records are kept, in order):"
        f" {', '.join(shown[:_DUPLICATES_SHOWN])}{more}"
    )


def _meta(decided: Decided, want: Want, kinds: Sequence[str], source: str) -> dict[str, object]:
    return {
        "esm2": __version__,
        "model": decided.slug,
        "weights_sha256": decided.weights_sha256,
        "weights_kind": decided.weights_kind,
        "device": decided.device,
        "dtype": decided.dtype,
        "include": list(kinds),
        "layers": list(want.layers),
        "source": source,
    }


def _summary(out: Writer, seconds: float, decided: Decided, refused: int) -> str:
    rate = out.residues / max(seconds, 1e-9)
    note = f"; {decided.caveat}" if decided.caveat else ""
    left_out = f"; {_count(refused, 'record')} left out, as told above" if refused else ""
    return (
        f"{out.path}: {_count(out.count, 'record')}, {_count(out.residues, 'residue')}"
        f" in {seconds:.1f} s ({rate:.0f} residues/s), {decided.slug} on {decided.device},"
        f" {decided.dtype}"
        f"{note}{left_out}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
