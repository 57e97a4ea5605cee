"""`esm2 embed`: embeddings of every record of FASTA files, into a file of the format it is named.

    FASTA ──fasta.read──> bulk.embed ──> files.Journal ──> OUT.h5, OUT.h5.rejects.fasta
                             │    └── submit: a model in this process, a server's, or a cluster's
                             └── a record that cannot be embedded: told, kept with the rejects

Nothing is computed before the input has a first record and the output can be written. A run that
was interrupted goes on where it stopped. With `-` as output there is no file and no journal: a
line of JSON goes to standard output as soon as a record is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from esm2.cli import options

if TYPE_CHECKING:
    from esm2.client.remote import Remote
    from esm2.files import Format
    from esm2.files.regions import Regions
    from esm2.files.shards import Shard
    from esm2.runtime import Served
    from esm2.types import Record

#: What esm-extract calls them.
_FAIR_ESM = {"per_tok": "per_token"}
_COMMANDS = ("contacts", "logits", "attentions")
_STDOUT = Path("-")


def embed(
    fasta: Annotated[
        list[str],
        typer.Argument(
            metavar="FASTA",
            help="Protein sequences: FASTA files, plain or compressed (gzip, xz, zstd, bzip2),"
            " Parquet tables with columns id and sequence, or - for standard input.",
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write; its ending is its format: .h5, .parquet, .npz, .safetensors,"
            " .h5ad, .csv, .jsonl. With - lines of JSON go to standard output.",
        ),
    ],
    model: options.ModelName = options.DEFAULT_MODEL,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND,...",
            help="What to write: mean, max, min (over the residues, each dimension by itself),"
            " per_token (each residue; also per_tok), bos (the start token). Repeat, or separate by"
            " commas.  [default: mean]",
        ),
    ] = None,
    pool: Annotated[
        Literal["mean", "max", "min", "bos", "none"] | None,
        typer.Option(
            help="The same for one of them: what is made of the residues; none is per_token."
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIRST-LAST,...|TSV",
            help="Residues that are pooled, such as 27-38, counted from 1, both included; several"
            " are pooled together. Or a table of id, start, end, with tabs between: each record's"
            " own. The model sees the whole protein all the same.",
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER,...",
            help="Layers: 0 is the embedding, -1 the last, 1-4 the first four. Repeat, or separate"
            " by commas.  [default: -1]",
        ),
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Let a server compute, such as http://127.0.0.1:8000; no torch is needed here."
            " A server does not embed sequences with a <mask>.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Let the GPUs (or else the CPUs) of a Ray cluster compute: HOST:PORT of its head,"
            " auto for the one that this machine is part of, local to start one here. The file is"
            " the same as without.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="What the server wants to see. Everyone on a machine can see the flags of a"
            " program: better put it into ESM2_TOKEN (BIOLMAI_TOKEN and BIOLM_TOKEN are read,"
            " too).",
        ),
    ] = None,
    max_residues: Annotated[
        int, typer.Option(min=1, help="The most residues of a record that is seen whole.")
    ] = options.LONGEST,
    long: Annotated[
        Literal["error", "truncate", "window"],
        typer.Option(
            help="What becomes of longer ones: rejected; embedded as their first residues; or seen"
            " in overlapping windows, each residue in the one in which it is furthest from an"
            " edge. The file says which it was."
        ),
    ] = "error",
    h5_key: Annotated[
        options.H5Key | None,
        typer.Option(
            help="What names a dataset of an .h5: the first word of the header, the accession in"
            " it, a hash of the sequence, or biotrainer's.  [default: id]"
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Embed every N-th record only, from the I-th on: for one of N machines. The file"
            " is OUT.I-of-N.npz; `esm2 merge` makes one of all.",
        ),
    ] = None,
    strict: options.Strict = False,
    upper: options.Upper = False,
    force: options.Force = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin anew, whatever an interrupted run has kept."),
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Embed the records of FASTA files, in their order.

    If it is interrupted, what was done is kept in OUT.part, and the same command goes on from
    there. A record that cannot be embedded is told and goes to OUT.rejects.fasta.

    Exit status: 0 all records, 1 nothing was written, 3 written with records left out.

    An .npz has ids (n,), lengths (n,), layers (k,), embeddings (n, D), meta:

    \b
        x = numpy.load("OUT.npz")
        dict(zip(x["ids"].tolist(), x["embeddings"]))     # id -> (D,) float32
        json.loads(str(x["meta"]))                        # model, weights, layers, ...

    With several layers embeddings are (n, k, D). per_token is in per_token_embeddings, the
    residues of all records end to end: record i is rows offsets[i]:offsets[i + 1].
    """
    if output != _STDOUT:  # what a link points to is meant, and may be where there is room
        from esm2.files import target

        output = target(output)
    source = options.source(fasta)
    kinds = _kinds(include, pool)
    indices = options.indices(layers or ["-1"], "--layers")
    output, part = _part(output, shard)
    format = _format(output, fasta, kinds, indices, h5_key, force=force)
    _check_place(url, token, model, device, dtype)
    if ray is not None and url is not None:
        raise typer.BadParameter("either a server computes, or a cluster", param_hint="--ray")
    if long == "window" and "bos" in kinds:
        raise typer.BadParameter("each window has a BOS of its own", param_hint="--long")
    regions = _regions(region or [], kinds)

    from esm2.cli.embed_run import Job
    from esm2.files import Run
    from esm2.files import fasta as fasta_file
    from esm2.files.fasta import Position
    from esm2.files.shards import OwnRecords

    position = Position()
    with closing(fasta_file.read_all(fasta, position)) as records:
        first = next(records)
        with _opened(url, token, model, device, dtype, ray=ray) as served:
            decided = served.decided
            run = Run(
                model=decided.slug,
                weights_sha256=decided.weights_sha256,
                weights_kind=decided.weights_kind,
                device=decided.device.partition(":")[0],
                dtype=decided.dtype,
                include=tuple(kinds),
                layers=tuple(sorted({decided.shape.layer(index) for index in indices})),
                dim=decided.shape.dim,
                long=long,
                max_residues=max_residues,
                format=format.suffix,
                keys=h5_key or "id",
                shard=part,
                region=regions.described if regions else None,
            )
            if objection := format.objection(kinds, len(run.layers)):
                raise typer.BadParameter(objection, param_hint="--output")
            whole: Iterator[Record] = chain([first], records)
            whole = fasta_file.upper(whole) if upper else whole
            whole = regions.watch(whole) if regions else whole
            own = OwnRecords(whole, part) if part else None
            job = Job(served, run, source, position, strict, quiet, force, own, regions)
            if output == _STDOUT:
                return job.to_standard_output(whole)
            return job.to_file(output, iter(own or whole), restart)


# --- arguments ---------------------------------------------------------------------------------


def _kinds(include: Sequence[str] | None, pool: str | None) -> list[str]:
    from esm2.pooling import KINDS

    if pool is not None:
        if include:
            message = "--include says what to write, and --pool too; give one of them"
            raise typer.BadParameter(message, param_hint="--pool")
        return ["per_token" if pool == "none" else pool]
    words = [word.replace("-", "_") for word in options.words(include or ["mean"])]
    kinds = [_FAIR_ESM.get(word, word) for word in words]
    for kind in kinds:
        if kind not in KINDS:
            more = f"; for {kind} there is `esm2 {kind}`" if kind in _COMMANDS else ""
            raise typer.BadParameter(
                f"{kind!r} is not one of {', '.join(KINDS)}{more}", param_hint="--include"
            )
    return [kind for kind in KINDS if kind in kinds]


def _regions(values: Sequence[str], kinds: Sequence[str]) -> Regions | None:
    """Which residues are pooled; None is all of them.

    Raises:
        FileError, RequestError: a table of them cannot be used.
    """
    from esm2.files import regions

    if values and "bos" in kinds:
        raise typer.BadParameter("the BOS token is in no region", param_hint="--region")
    try:
        return regions.given(values)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--region") from error


def _distinct(indices: Sequence[int]) -> int:
    """How many layers these are at least: before the model is known, -1 may be any of them."""
    return max(len({i for i in indices if i >= 0}), len({i for i in indices if i < 0}))


def _format(
    output: Path,
    fasta: Sequence[str],
    kinds: Sequence[str],
    indices: Sequence[int],
    h5_key: str | None,
    *,
    force: bool,
) -> Format:
    """How to write what is asked for, or why that cannot be.

    Raises:
        FileError, MissingExtra: there could be no such file here; nothing has been computed yet.
    """
    from esm2 import files

    format = files.FORMATS[".jsonl"] if output == _STDOUT else files.find(output)
    problem = None
    if format is None:
        problem = (
            f"{output} has no ending that is known here; files can be written as"
            f" {', '.join(files.FORMATS)}"
        )
    elif objection := format.objection(kinds, _distinct(indices)):
        problem = objection
    else:
        for path in fasta:
            if written := files.replaced(output, path):
                problem = f"{written} is the input file"
    if format is None or problem:
        raise typer.BadParameter(problem or "", param_hint="--output")
    if h5_key is not None and format.suffix != ".h5":
        raise typer.BadParameter("only an .h5 has datasets to name", param_hint="--h5-key")
    format.load()
    if output != _STDOUT:
        files.check_place(output, force=force)
    return format


def _part(output: Path, shard: str | None) -> tuple[Path, Shard | None]:
    """Where the part of a run goes, and which it is; without --shard, all of it."""
    from esm2.files import shards

    if shard is None:
        return output, None
    part = shards.parse(shard)
    if part is None:
        message = f"{shard!r} is not like 3/16, the third of sixteen; I is 1 to N"
        raise typer.BadParameter(message, param_hint="--shard")
    if output.suffix.lower() != ".npz":
        message = "a part is an .npz; `esm2 merge` writes them all into the format that you want"
        raise typer.BadParameter(message, param_hint="--output")
    return shards.path_of(output, part), part


def _check_place(url: str | None, token: str | None, model: str, device: str, dtype: str) -> None:
    """With a server, nothing may be asked for that only means something here."""
    if url is None:
        if token is not None:
            raise typer.BadParameter("it is for a server with --url", param_hint="--token")
        return
    for name, value in (("--device", device), ("--dtype", dtype)):
        if value != "auto":
            raise typer.BadParameter("with --url, the server decides", param_hint=name)
    if "=" in model:
        raise typer.BadParameter(
            "with --url, give the SLUG alone: the server has the checkpoint", param_hint="--model"
        )


def _opened(
    url: str | None, token: str | None, model: str, device: str, dtype: str, *, ray: str | None
) -> AbstractContextManager[Served | Remote]:
    """The model: in this process, that of a server, or on the devices of a cluster."""
    if url is not None:
        from esm2.client.remote import open_remote

        return open_remote(url, model, token)
    from esm2.cli import passes

    if ray is not None:
        return passes.opened_on_ray(ray, model, device, dtype)
    return passes.opened(model, device, dtype)
