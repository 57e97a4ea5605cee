"""`esm2 extract`: what fair-esm's esm-extract does, with its arguments, into its files.

    FASTA ──> OUTPUT_DIR/{header}.pt      {"label", "representations": {layer: (L, D)},
                                           "mean_representations", "bos_representations",
                                           "contacts": (L, L)}

The whole header is the label and names the file; a `/` in it makes directories, as it does there.
What cannot name a file, or would name one twice, is a reject, and a name that is too long for the
file system is cut; both are told. Like `esm2 embed` it goes on where it was interrupted.

Source: scripts/extract.py of facebookresearch/esm 2.0.0.
"""

from __future__ import annotations

import argparse
import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from esm2.cli.options import counted, say
from esm2.errors import FileError, RequestError

if TYPE_CHECKING:
    from esm2.bulk import Embedded
    from esm2.files import Journal
    from esm2.types import Outputs, Record

_KINDS = {"mean": "mean", "per_tok": "per_token", "bos": "bos", "contacts": "contacts"}
_WORDS = {
    "per_token": "representations",
    "mean": "mean_representations",
    "bos": "bos_representations",
}
_PART = ".esm2.part"  # a file while it is written
_LONGEST_NAME = 255  # bytes, of one part of a path, on the file systems of Linux and macOS


def extract(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL FASTA OUTPUT_DIR --include KIND ...")
    ] = None,
) -> int:
    """Do what fair-esm's esm-extract does: a .pt file for each record, same flags, same content."""
    parser = _parser()
    given = parser.parse_args(arguments or [])

    from esm2 import files
    from esm2.cli.embed_run import Job, kept
    from esm2.files import fasta as fasta_file
    from esm2.files.fasta import Position
    from esm2.loading import spec
    from esm2.runtime import open_model
    from esm2.types import Want

    position = Position()
    directory: Path = given.output_dir
    if directory.name in {"", ".."}:  # what goes beside it is named after it
        directory = directory.resolve()
    if written := files.replaced(directory, given.fasta_file):
        parser.error(f"{written} is the input file")
    with closing(fasta_file.read(given.fasta_file, position)) as records:
        first = next(records)
        with open_model(
            spec(given.model_location),
            device="cpu" if given.nogpu else "auto",
            pack_tokens=given.toks_per_batch,
            on_fetch=say,
        ) as served:
            decided = served.decided
            kinds = tuple(_KINDS[word] for word in _KINDS if word in given.include)
            decided.check(Want((), **dict.fromkeys(kinds, True)))
            run = files.Run(
                model=decided.slug,
                weights_sha256=decided.weights_sha256,
                weights_kind=decided.weights_kind,
                device=decided.device.partition(":")[0],
                dtype=decided.dtype,
                include=kinds,
                layers=tuple(sorted({decided.shape.layer(n) for n in given.repr_layers})),
                dim=decided.shape.dim,
                long="truncate",
                max_residues=given.truncation_seq_length,
                format=".pt",
                keys="id",
            )
            job = Job(served, run, given.fasta_file, position, strict=given.strict, quiet=False)
            _make(directory)
            everything: Iterator[Record] = chain([first], records)
            if given.upper:
                everything = fasta_file.upper(everything)
            everything = job.oddities.watch(everything)
            with files.Journal(directory, run, keep=(), restart=given.restart) as journal:
                with kept(journal):
                    placed = _Files(directory)
                    for entry in job.replay(journal, everything):
                        if not entry.reason:
                            placed.expect(entry.header, entry.line, journal)
                    speed = job.work(journal, everything, placed.write)
                    shortened = job.shortened(journal)
                    files.commit_rejects(directory, journal)
                journal.discard()
    for note in (*shortened, *placed.notes()):
        say(f"{directory}: {note}")
    return job.end(directory, journal, speed)


class _Files:
    """The files of a directory, each written once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._taken: set[int] = set()  # 8 bytes of the hash of each name
        self._cut = 0

    def expect(self, header: str, line: int, journal: Journal) -> None:
        """A file that an earlier run wrote is there and taken.

        Raises:
            CannotResume: it is not there.
        """
        path = self._take(_label(header, line))
        if not path.exists():
            journal.refuse(f"{path} is not there any more")

    def write(self, item: Embedded, outputs: Outputs) -> None:
        """Write the file of a record: complete, or not at all.

        Raises:
            RequestError: its label cannot name a file, or its place is taken.
            FileError: the disk is full, or failed.
        """
        from esm2 import files
        from esm2.runtime import save_pt

        label = _label(item.record.header, item.record.line)
        name = self._name(label)
        if _digest(name) in self._taken:
            raise RequestError("an earlier record has the same header, and has the file")
        path = self._directory / name
        part = self._directory / _PART
        try:
            with _placing():
                path.parent.mkdir(parents=True, exist_ok=True)
            save_pt(part, _content(label, outputs))
            with _placing():
                files.put(part, files.target(path))
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise FileError(path, "write", error.strerror or str(error)) from error
        self._take(label)

    def notes(self) -> list[str]:
        """What has to be said about names."""
        if not self._cut:
            return []
        return [
            f"{counted(self._cut, 'name')} too long for a file; cut, with a hash of the header"
            " behind"
        ]

    def _take(self, label: str) -> Path:
        """Where the file of a label is, which has its place from now on."""
        name = self._name(label)
        self._cut += name != str(PurePosixPath(f"{label}.pt"))
        self._taken.add(_digest(name))
        return self._directory / name

    def _name(self, label: str) -> str:
        """What the file of a label is called, in its directory."""
        path = PurePosixPath(f"{label}.pt")
        if path.is_absolute() or ".." in path.parts or "\0" in label or path.parts[0] == _PART:
            raise RequestError("its header cannot name a file inside the directory")
        parts = []
        for part in path.parts:
            name, encoded = part, part.encode()
            if len(encoded) > _LONGEST_NAME:
                digest = sha256(label.encode()).hexdigest()[:16]
                name = encoded[: _LONGEST_NAME - 20].decode(errors="ignore") + f"-{digest}.pt"
            parts.append(name)
        return "/".join(parts)


@contextmanager
def _placing() -> Iterator[None]:
    """What stands in the way of one name, and not of the next, is the fault of the record."""
    try:
        yield
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise RequestError(
            "its header names a file where a directory is, or a directory where a file is"
        ) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise RequestError("its header is too long to be the path of a file") from None


def _digest(name: str) -> int:
    """8 bytes of its hash."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "little")


def _label(header: str, line: int) -> str:
    """fair-esm's name of a record: its header, or the 0-based line that it has none on."""
    return header or f"seqnum{line - 1:09d}"


def _content(label: str, outputs: Outputs) -> Mapping[str, object]:
    content: dict[str, object] = {"label": label}
    for kind, word in _WORDS.items():
        if by_layer := getattr(outputs, kind):
            content[word] = by_layer
    if outputs.contacts is not None:
        content["contacts"] = outputs.contacts
    return content


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(directory, "make", error.strerror or str(error)) from error


def _parser() -> argparse.ArgumentParser:
    """esm-extract's arguments; typer has no options that take several values."""
    parser = argparse.ArgumentParser(
        prog="esm2 extract",
        description=extract.__doc__,
        epilog="Exit status: 0 all records, 1 nothing was written, 3 written with records left"
        " out.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model_location", help="a model (see `esm2 models`), or the path of its checkpoint"
    )
    parser.add_argument("fasta_file", help="protein sequences, as for `esm2 embed`")
    parser.add_argument("output_dir", type=Path, help="where the .pt files go")
    parser.add_argument(
        "--include",
        nargs="+",
        type=lambda word: "per_tok" if word in {"per_token", "per-token"} else word,
        choices=list(_KINDS),
        required=True,
        help="what to write",
    )
    parser.add_argument(
        "--repr_layers", type=int, nargs="+", default=[-1], help="layers, -1 is the last"
    )
    parser.add_argument(
        "--truncation_seq_length",
        type=_positive("residues"),
        default=1022,
        help="longer sequences are truncated, and that is told (default: 1022, as there)",
    )
    parser.add_argument(
        "--toks_per_batch",
        type=_positive("tokens"),
        default=4096,
        help="tokens of a forward pass (default: 4096)",
    )
    parser.add_argument("--nogpu", action="store_true", help="do not use a GPU that is there")
    parser.add_argument(
        "--restart", action="store_true", help="begin anew, whatever an interrupted run has kept"
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first record that is refused"
    )
    parser.add_argument(
        "--upper", action="store_true", help="read residues in lower case as upper case"
    )
    return parser


def _positive(what: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if number < 1:
            raise argparse.ArgumentTypeError(f"{text} is not a number of {what}")
        return number

    parse.__name__ = f"number of {what}"
    return parse
