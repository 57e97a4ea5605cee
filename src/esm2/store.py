"""OUT.npz: embeddings of any number of records, written with bounded memory.

    OUT.npz                        n records, D dimensions, k layers; read it with numpy.load
    ├── ids              (n,)      text, in input order, repeated ids included
    ├── lengths          (n,)      int64, residues of each record
    ├── layers           (k,)      int64, ascending, 0 (embedding) .. N (last)
    ├── embeddings       (n, D)    float32, mean over the residues; (n, k, D) for several layers
    ├── bos_embeddings   (n, D)    float32, the BOS token;          (n, k, D) for several layers
    ├── per_token_embeddings       float32, (R, D) or (R, k, D): the residues of all records end
    │                              to end, R = sum(lengths)
    ├── offsets          (n + 1,)  int64, record i is rows offsets[i]:offsets[i + 1] of those
    └── meta             ()        text, a JSON object: how it was made

Only what was asked for is there: `offsets` comes with `per_token_embeddings`. No array needs
pickle. The file is an uncompressed zip (zip64), so it is as large as its numbers.

Rows go to plain files in a hidden directory beside OUT.npz as they come, and are joined in the
end: OUT.npz is complete or does not exist, and the directory is gone however the writing ends.
Joining takes as much free space again as the file itself.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from esm2.errors import FileError
from esm2.types import Float, Outputs

SUFFIX = ".npz"

_FLOAT = "<f4"
_INT = "<i8"
_ARRAY_OF = {
    "mean": "embeddings",
    "bos": "bos_embeddings",
    "per_token": "per_token_embeddings",
}


class Writer:
    """Takes the embeddings of one record after another and makes OUT.npz of them.

        with Writer(Path("OUT.npz")) as out:
            out.add("P1", 120, outputs)
            out.commit({"model": "esm2-650m"})      # without it there is no file

    Attributes:
        path: the file to be.
        count: records taken so far.
        residues: their residues.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.residues = 0
        self._resources = ExitStack()
        self._directory = Path()
        self._files: dict[str, BinaryIO] = {}
        self._layers: tuple[int, ...] = ()
        self._kinds: tuple[str, ...] = ()
        self._dim = 0
        self._id_width = 1  # characters; numpy has no text of width 0
        # 8 bytes a record: enough to know which ids to look at when repeated ones are asked for.
        self._digests = array("Q")

    def __enter__(self) -> Self:
        """Make the hidden directory.

        Raises:
            FileError: there could be no file of that name; nothing has been computed yet.
        """
        parent = self.path.parent
        with self._failing():
            if not parent.is_dir():
                reason = f"there is no directory {parent}; make it first"
                raise FileError(self.path, "write", reason)
            if self.path.is_dir():
                raise FileError(self.path, "write", "it is a directory; name a file")
            self._directory = Path(tempfile.mkdtemp(".part", ".esm2-", parent))
        self._resources.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self._open("ids")
        self._open("lengths")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            _discard(file)
        self._resources.close()

    def add(self, record_id: str, residues: int, outputs: Outputs) -> None:
        """Append one record.

        Args:
            record_id: its id, without line ends.
            residues: L.
            outputs: any of mean, per_token and bos, the same kinds and layers for every record.

        Raises:
            FileError: the disk is full, or failed.
        """
        if not self.count:
            self._begin(outputs)
        encoded = record_id.encode("utf-8")
        with self._failing():
            self._files["ids"].write(encoded + b"\n")
            self._files["lengths"].write(np.array(residues, _INT).tobytes())
            for kind in self._kinds:
                rows = self._rows(getattr(outputs, kind), residues if kind == "per_token" else 1)
                self._files[kind].write(rows.data)
        self._digests.append(int.from_bytes(blake2b(encoded, digest_size=8).digest(), "little"))
        self._id_width = max(self._id_width, len(record_id))
        self.count += 1
        self.residues += residues

    def _begin(self, outputs: Outputs) -> None:
        self._kinds = tuple(kind for kind in _ARRAY_OF if getattr(outputs, kind))
        first: dict[int, Float] = getattr(outputs, self._kinds[0])
        self._layers = tuple(sorted(first))
        self._dim = first[self._layers[0]].shape[-1]
        for kind in self._kinds:
            self._open(kind)

    def _rows(self, by_layer: Mapping[int, Float], count: int) -> NDArray[np.float32]:
        """All layers of one record as they lie in the file, (count, k, D)."""
        rows = np.stack([by_layer[layer].reshape(count, -1) for layer in self._layers], axis=1)
        assert rows.shape == (count, len(self._layers), self._dim), rows.shape
        return np.ascontiguousarray(rows, dtype=_FLOAT)

    def duplicates(self) -> dict[str, int]:
        """Ids of more than one record, in order of first appearance, with their numbers."""
        digests = np.frombuffer(self._digests, dtype=np.uint64)
        values, counts = np.unique(digests, return_counts=True)
        repeated = np.isin(digests, values[counts > 1])
        with self._failing():
            ids = Counter(
                record_id for record_id, again in zip(self._ids(), repeated, strict=True) if again
            )
        return {record_id: count for record_id, count in ids.items() if count > 1}

    def commit(self, meta: Mapping[str, object]) -> None:
        """Make the file of what was added, replacing one of that name; nothing may follow.

        Args:
            meta: how it was made, JSON values.

        Raises:
            FileError: the disk is full, or failed; there is no file then, or still the old one.
        """
        assembled = self._directory / "assembled"
        with self._failing():
            for file in self._files.values():
                file.flush()
            with assembled.open("wb") as whole:
                with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                    self._write_arrays(archive, meta)
                whole.flush()
                os.fsync(whole.fileno())
            assembled.replace(self.path)

    def _write_arrays(self, archive: zipfile.ZipFile, meta: Mapping[str, object]) -> None:
        with _member(archive, "ids", f"<U{self._id_width}", (self.count,)) as out:
            for record_id in self._ids():
                out.write(record_id.encode("utf-32-le").ljust(4 * self._id_width, b"\0"))
        with _member(archive, "lengths", _INT, (self.count,)) as out:
            self._copy("lengths", out)
        _write_array(archive, "layers", np.array(self._layers, _INT))
        levels = (len(self._layers),) if len(self._layers) > 1 else ()
        for kind in self._kinds:
            rows = self.residues if kind == "per_token" else self.count
            with _member(archive, _ARRAY_OF[kind], _FLOAT, (rows, *levels, self._dim)) as out:
                self._copy(kind, out)
        if "per_token" in self._kinds:
            lengths = np.fromfile(self._directory / "lengths", dtype=_INT)
            _write_array(archive, "offsets", np.concatenate(([0], np.cumsum(lengths))))
        _write_array(archive, "meta", np.array(json.dumps(meta)))

    def _open(self, name: str) -> None:
        with self._failing():
            self._files[name] = (self._directory / name).open("wb")

    def _copy(self, name: str, out: IO[bytes]) -> None:
        with (self._directory / name).open("rb") as rows:
            shutil.copyfileobj(rows, out, 1 << 20)

    def _ids(self) -> Iterator[str]:
        self._files["ids"].flush()
        with (self._directory / "ids").open("rb") as lines:
            for line in lines:
                yield line[:-1].decode("utf-8")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What the operating system refuses, as an error about OUT.npz."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise FileError(self.path, "write", f"{reason}; nothing was written") from error


def _discard(file: BinaryIO) -> None:
    """Close a file whose content no longer matters, even on a full disk."""
    with suppress(OSError):
        file.close()


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]
) -> Iterator[IO[bytes]]:
    """One array of the archive: its header is written, its numbers are the caller's to write."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        yield out


def _write_array(archive: zipfile.ZipFile, name: str, values: NDArray[np.generic]) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
        np.lib.format.write_array(out, values, allow_pickle=False)
