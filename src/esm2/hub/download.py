"""Fetching: what is missing of a checkpoint, brought into the cache and verified."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from esm2.catalog import Checkpoint, HubFile
from esm2.errors import HashMismatch, HubError
from esm2.hub.cache import (
    digest_of,
    digest_of_etag,
    left_alone,
    library,
    offline,
    remove,
    snapshot_of,
    storage_of,
)
from esm2.hub.refusals import cache_errors, elsewhere, hub_errors

Say = Callable[[str], None]

#: Seconds to wait for another process that is downloading the same file.
_LOCK_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the hub states about a file.

    Attributes:
        etag: 40 or 64 hexadecimal digits: the name of the blob.
        digest: the same as a digest.
        size: in bytes.
    """

    etag: str
    digest: str
    size: int


def _silent(_line: str) -> None:
    pass


def fetch(checkpoint: Checkpoint, say: Say = _silent, *, mend: bool = True) -> Path:
    """Download what is missing of a checkpoint into the cache, and verify all of it.

    A file that is there is verified and not downloaded; a download that was cut is continued.
    A progress bar is drawn on standard error where that is a terminal. Under HF_HUB_OFFLINE
    nothing in the cache is changed.

    Args:
        say: gets one line for each thing done, for a person to read.
        mend: whether a file that is there and is not the published one is removed: for who was
            asked to fetch, not for who only wants to compute.

    Returns:
        the directory of the snapshot, as `locate` gives it.

    Raises:
        HashMismatch: a file, there or just downloaded, is not the published one; it says what
            became of it.
        HubUnreachable: the hub did not answer, or HF_HUB_OFFLINE forbids to ask it.
        HubError: the hub refused, or the cache cannot be written.
        MissingExtra: huggingface_hub is not installed.
        SettingsError: an HF_* variable is one that it cannot read.
    """
    snapshot = snapshot_of(checkpoint)
    if offline():
        mend = False
        for file in checkpoint.files:
            if not (snapshot / file.name).is_file():
                _ask(checkpoint, file)  # which says that it may not
    for file in checkpoint.files:
        path = snapshot / file.name
        with cache_errors():
            if path.is_file():
                expected = file.digest or digest_of_etag(_blob_name(path))
                expected = expected or _ask(checkpoint, file).digest
                say(f"{file.name}: here already, verifying")
                _check(path, expected, str(path), "" if mend else left_alone(checkpoint))
            else:
                stated = _ask(checkpoint, file)
                expected = file.digest or stated.digest
                _refuse_another_file(checkpoint, file, stated)
                _download(checkpoint, file, stated, say)
        source = "as published" if file.digest else "as the hub states; none is published for it"
        say(f"{file.name}: {expected}, {source}")
    return snapshot


def _check(path: Path, expected: str, name: str, advice: str = "") -> None:
    """Refuse a wrong file; without advice what to do with it, take it out of the cache."""
    found = digest_of(path, expected)
    if found == expected:
        return
    if not advice:
        try:
            remove(path)
        except OSError as error:
            advice = f"it could not be removed ({error.strerror}); delete {path} and fetch it again"
        else:
            advice = "it was removed from the cache; check HF_ENDPOINT and fetch it again"
    raise HashMismatch(name, expected, found, advice)


def _blob_name(path: Path) -> str:
    """The ETag of a file in a snapshot; without links, as on some Windows machines, its name."""
    return path.readlink().name if path.is_symlink() else path.name


def _url(checkpoint: Checkpoint, file: HubFile) -> str:
    url_of = library("file_download").hf_hub_url
    return str(url_of(checkpoint.repo, file.name, revision=checkpoint.revision))


def _ask(checkpoint: Checkpoint, file: HubFile) -> _Stated:
    """Ask the hub about a file, once: a dead network is told at once."""
    url = _url(checkpoint, file)
    with hub_errors(checkpoint, file, elsewhere(checkpoint)):
        answer = library("file_download").get_hf_file_metadata(url, library_name="esm2")
    if answer.commit_hash != checkpoint.revision:
        raise HubError(
            f"{url} is answered with commit {answer.commit_hash}, not with the pinned one;"
            " check HF_ENDPOINT"
        )
    digest = digest_of_etag(answer.etag or "")
    if not digest or answer.size is None:
        raise HubError(
            f"{url} is answered without a size or a digest of the file (ETag {answer.etag}), so a"
            " download could not be verified; check HF_ENDPOINT"
        )
    return _Stated(digest.partition(":")[2], digest, answer.size)


def _refuse_another_file(checkpoint: Checkpoint, file: HubFile, stated: _Stated) -> None:
    """Where the hub itself states another digest than the catalog, nothing is downloaded."""
    same_kind = stated.digest.partition(":")[0] == file.digest.partition(":")[0]
    if same_kind and stated.digest != file.digest:
        advice = "nothing was downloaded; check HF_ENDPOINT"
        raise HashMismatch(_url(checkpoint, file), file.digest, stated.digest, advice)


def _download(checkpoint: Checkpoint, file: HubFile, stated: _Stated, say: Say) -> None:
    """Bring one file into the cache: blob first, link last."""
    url, storage = _url(checkpoint, file), storage_of(checkpoint)
    blob = storage / "blobs" / stated.etag
    link = snapshot_of(checkpoint) / file.name
    # Where huggingface_hub has its locks: neither of us writes a blob that the other is writing.
    lock = storage.parent / ".locks" / storage.name / f"{stated.etag}.lock"
    for path in (blob, link, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with library("utils").WeakFileLock(lock, timeout=_LOCK_TIMEOUT):
            if blob.is_file():
                _check(blob, file.digest or stated.digest, str(blob))
            else:
                partial = blob.with_name(f"{stated.etag}.incomplete")
                _receive(checkpoint, file, stated, partial, say)
                _check(partial, file.digest or stated.digest, url)
                partial.replace(blob)
            _link(link, blob)
    except TimeoutError as error:
        raise HubError(
            f"another process is downloading {file.name} of {checkpoint.repo} (it holds {lock});"
            " wait until it is done and fetch again"
        ) from error


def _receive(
    checkpoint: Checkpoint, file: HubFile, stated: _Stated, partial: Path, say: Say
) -> None:
    """Append to `partial` what is missing of the file's body."""
    held = partial.stat().st_size if partial.exists() else 0
    if held > stated.size:
        partial.unlink()
        held = 0
    free = shutil.disk_usage(partial.parent).free
    if stated.size - held > free:
        raise HubError(
            f"{file.name} of {checkpoint.repo} needs {_megabytes(stated.size - held)} and"
            f" {partial.parent} has {_megabytes(free)} free; make room, or set HF_HOME to a"
            " directory on a larger disk"
        )
    url, rest = _url(checkpoint, file), f", going on from {_megabytes(held)}" if held else ""
    say(f"{file.name}: downloading {_megabytes(stated.size)} from {url}{rest}")
    advice = f"run `esm2 fetch {checkpoint.slug}` again, it goes on where this stopped"
    with hub_errors(checkpoint, file, advice), partial.open("ab") as body:
        headers = library("utils").build_hf_headers(library_name="esm2")
        # A compressed body cannot be continued at a byte of the file.
        headers["Accept-Encoding"] = "identity"
        library("file_download").http_get(
            url,
            body,
            resume_size=held,
            headers=headers,
            expected_size=stated.size,
            displayed_filename=file.name,
        )


def _link(link: Path, blob: Path) -> None:
    link.unlink(missing_ok=True)  # a link to a blob that is gone
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except OSError:  # no links on this file system or for this user: the file itself goes there
        blob.replace(link)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
