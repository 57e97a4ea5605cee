"""One protein in, a file or two out: what contacts, attentions, logits and fill-mask share.

    FASTA of one record, or --sequence ──read──> Record
                                                   │      every name of a file is looked at, and
    OUT, PICTURE ──────────────────────────────────┤      room for it made, before any computing
                                                   └─> numbers ──> hidden files ──> OUT, PICTURE

A file appears when it is complete. Until then there is a hidden directory beside it, which an
interrupt takes away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esm2 import __version__
from esm2.cli.options import say, shown
from esm2.cli.passes import by
from esm2.errors import FileError, InvalidFasta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from esm2.alphabet import Masks
    from esm2.types import Decided, Record

Fasta = Annotated[
    str | None,
    typer.Argument(
        metavar="FASTA",
        show_default=False,
        help="A FASTA file with one protein, plain or compressed (gzip, xz, zstd, bzip2), or -"
        " standard input.",
    ),
]
SequenceText = Annotated[
    str | None,
    typer.Option("--sequence", metavar="SEQ", help="The protein itself, instead of a file."),
]
Picture = Annotated[
    Path | None,
    typer.Option(metavar="OUT", help="Draw it, too: a file that ends in .png or .svg."),
]
Dark = Annotated[bool, typer.Option("--dark", help="Draw the picture on dark paper.")]

_PICTURES = (".png", ".svg")


def read(
    fasta: str | None,
    sequence: str | None,
    max_residues: int,
    masks: Masks = "none",
    *,
    upper: bool = False,
) -> Record:
    """The only record of a FASTA file, or a sequence as one.

    Raises:
        typer.BadParameter: both or none of the two were given.
        InvalidFasta: the file has several records.
        RequestError: the sequence cannot be used.
    """
    from esm2.alphabet import tokenize
    from esm2.files import fasta as fasta_file
    from esm2.types import Record

    if (fasta is None) == (sequence is None):
        raise typer.BadParameter("give a FASTA file, or a protein with --sequence")
    if fasta is None:
        record = Record("sequence", "", sequence or "", 1)
    else:
        with closing(fasta_file.read(fasta)) as records:
            record, second = next(records), next(records, None)
        if second is not None:
            raise InvalidFasta(
                fasta,
                second.line,
                "a second record; this command takes one protein, the functions of Python take"
                " many (esm2.load), and so does `esm2 embed`",
                second.unit,
            )
    if upper:
        (record,) = fasta_file.upper([record])
    tokenize(record.sequence, masks=masks, max_residues=max_residues)
    return record


@contextmanager
def writing(
    output: Path, option: str, endings: Sequence[str], *fasta: str | None
) -> Iterator[Path]:
    """A hidden file to write, which takes the place of `output` when the block ends well.

    Args:
        option: by which `output` was given.
        endings: that it may have.
        fasta: the inputs, which must not be overwritten.

    Yields:
        the path of the hidden file, with the same ending.

    Raises:
        typer.BadParameter: it has another ending, or is the input.
        FileError: there can be no such file.
    """
    if output.suffix.lower() not in endings:
        raise typer.BadParameter(
            f"{output} has no ending that is known here; use {' or '.join(endings)}",
            param_hint=option,
        )
    for path in filter(None, fasta):
        same = False
        with suppress(OSError):  # one of them is not there: told elsewhere, or meant
            same = output.samefile(path)
        if same:
            raise typer.BadParameter(f"{output} is the input file", param_hint=option)
    with written(output) as hidden:
        yield hidden


@contextmanager
def written(output: Path) -> Iterator[Path]:
    """As `writing`, of any name that can be that of a file.

    Raises:
        FileError: there can be no such file.
    """
    from esm2 import files

    place = files.target(output)
    files.check_place(place, force=True)
    with ExitStack() as stack:
        with _failing(output):
            hidden = stack.enter_context(files.beside(place))
        try:
            yield hidden
            with _failing(output):
                files.put(hidden, place)
        except FileError as error:
            if error.path != str(hidden):
                raise
            raise FileError(output, "write", error.reason) from error


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(path, "write", error.strerror or str(error)) from error


@contextmanager
def drawing(picture: Path | None, dark: bool, *fasta: str | None) -> Iterator[Path | None]:
    """As `writing`, for a picture if there is to be one, and with what draws it installed.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if dark and picture is None:
        raise typer.BadParameter("it is for a --picture", param_hint="--dark")
    if picture is None:
        yield None
        return
    with writing(picture, "--picture", _PICTURES, *fasta) as hidden:
        import esm2.plots  # noqa: F401  a refusal comes before the computing

        yield hidden


def save_npz(
    path: Path, record: Record, decided: Decided, fasta: str | None, **arrays: ArrayLike
) -> None:
    """An .npz for numpy.load: arrays, `id`, `sequence` and `meta`, JSON that tells how it was made.

    Raises:
        FileError: it cannot be written.
    """
    import numpy as np

    from esm2.files import spelled

    meta = {
        "esm2": __version__,
        "model": decided.slug,
        "weights_sha256": decided.weights_sha256,
        "weights_kind": decided.weights_kind,
        "device": decided.device,
        "dtype": decided.dtype,
        "source": "--sequence" if fasta is None else spelled(fasta),
    }
    texts = {"id": record.id, "sequence": record.sequence, "meta": json.dumps(meta)}
    members: dict[str, Any] = {**arrays, **texts}
    with _failing(path), path.open("wb") as out:
        np.savez(out, **members)


def save_rows(path: Path, rows: Iterable[Iterable[str]], delimiter: str = ",") -> None:
    """Lines of cells, none of which needs quotes.

    Raises:
        FileError: it cannot be written.
    """
    with _failing(path), path.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(f"{delimiter.join(row)}\n" for row in rows)


def texts(numbers: NDArray[np.float32]) -> list[str]:
    """The shortest texts that read back as the same numbers."""
    cells: list[str] = numbers.astype(str).tolist()
    return cells


def tell(files: Sequence[Path | None], what: str, record: Record, decided: Decided) -> None:
    """The last line: what was written where, of which protein and by which model."""
    names = " and ".join(str(file) for file in files if file is not None)
    say(f"{names or 'standard output'}: {what} of {shown(record.id)}, {by(decided)}")
