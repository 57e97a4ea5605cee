"""Weights: find, download, verify.

    $HF_HOME/hub/models--facebook--esm2_t6_8M_UR50D/
        blobs/ETAG                       the bytes; ETAG.incomplete while they arrive
        snapshots/REVISION/config.json   links to the blobs; this directory is what a loader opens

    ask the hub -> ETAG.incomplete -> digest as pinned? -> blobs/ETAG -> link in the snapshot
                   (a cut goes on      no: removed,
                    from here)         HashMismatch

It is the ordinary Hugging Face cache, so other programs find our files and we find theirs. A file
gets its name in the cache only after its digest was found right. The body is plain HTTP, also
where the hub offers Xet: huggingface_hub 2 drops what it has of a file when a transfer ends early,
a plain body of our own can be continued by the next run. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
HF_TOKEN and HF_HUB_OFFLINE are read by huggingface_hub. Importing this module imports neither
that library nor torch.

Source: the cache layout is documented at huggingface.co/docs/huggingface_hub/guides/manage-cache;
the hub states an ETag of a git blob sha1 (small files) or X-Linked-Etag of a sha256 (large files).
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from esm2.catalog import Checkpoint, HubFile
from esm2.errors import (
    HashMismatch,
    HubError,
    HubUnreachable,
    MissingExtra,
    SettingsError,
    WeightsMissing,
)

Say = Callable[[str], None]

#: Seconds to wait for another process that is downloading the same file.
_LOCK_TIMEOUT = 1.0
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


# --- find --------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """The Hugging Face cache of this process, whether it exists or not.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        SettingsError: an HF_* variable is one that it cannot read.
    """
    return Path(_library("constants").HF_HUB_CACHE)


def locate(checkpoint: Checkpoint) -> Path | None:
    """The directory with all files of a checkpoint at its pinned revision, or None.

    Looks at the cache only: no network, no verification, no exception. None too where
    huggingface_hub is not installed; `weights_missing` tells the two apart.
    """
    try:
        snapshot = _snapshot(checkpoint)
    except SettingsError:
        return None
    # os.path.isfile is False where pathlib raises: a directory that may not be read.
    if all(os.path.isfile(snapshot / file.name) for file in checkpoint.files):  # noqa: PTH113
        return snapshot
    return None


def weights_missing(checkpoint: Checkpoint) -> WeightsMissing:
    """The error for a checkpoint that `locate` did not find: the place, and what is beside it."""
    snapshot = _snapshot(checkpoint)
    others = [
        other
        for other in snapshot.parent.glob("*")
        if other != snapshot
        and (other / "config.json").is_file()
        and any(path.is_file() for pattern in _WEIGHT_FILES for path in other.glob(pattern))
    ]
    note = ""
    if others:
        newest = max(others, key=lambda other: other.stat().st_mtime)
        note = (
            f"; another revision is at {newest}, to be used with --model {checkpoint.slug}={newest}"
        )
    return WeightsMissing(checkpoint.slug, [str(snapshot)], note)


def _library(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"huggingface_hub.{module}")
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "torch") from error
    except ValueError as error:  # it turns its variables into numbers while it is imported
        raise SettingsError(
            f"an HF_* variable cannot be read: {error}; mend or unset it"
        ) from error


def _storage(checkpoint: Checkpoint) -> Path:
    return cache_directory() / f"models--{checkpoint.repo.replace('/', '--')}"


def _snapshot(checkpoint: Checkpoint) -> Path:
    return _storage(checkpoint) / "snapshots" / checkpoint.revision


# --- verify ------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_sha1(path: Path) -> str:
    """What git calls a file: the sha1 of "blob SIZE\\0" and the content, 40 hexadecimal digits."""
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: blob).hexdigest()


def _digest(path: Path, like: str) -> str:
    """The digest of a file in the notation of another: "sha256:..." or "git-sha1:..."."""
    kind = like.partition(":")[0]
    return f"{kind}:{sha256(path) if kind == 'sha256' else _git_sha1(path)}"


def _digest_of_etag(etag: str) -> str:
    """An ETag of the hub as a digest; "" if it is not one."""
    if re.fullmatch("[0-9a-f]{64}", etag):
        return f"sha256:{etag}"
    return f"git-sha1:{etag}" if re.fullmatch("[0-9a-f]{40}", etag) else ""


def _check(path: Path, expected: str, name: str) -> None:
    """Refuse a wrong file, and take it out of the cache so that nothing can load it."""
    found = _digest(path, expected)
    if found == expected:
        return
    try:
        _remove(path)
    except OSError as error:
        advice = f"it could not be removed ({error.strerror}); delete {path} and fetch it again"
    else:
        advice = "it was removed from the cache; check HF_ENDPOINT and fetch it again"
    raise HashMismatch(name, expected, found, advice)


def _remove(path: Path) -> None:
    """Remove a file and, where it is a link into the cache, what it leads to."""
    target = path.parent.absolute() / path.readlink() if path.is_symlink() else path
    target = Path(os.path.normpath(target))
    path.unlink(missing_ok=True)
    if target != path and cache_directory().absolute() in target.parents:
        _remove(target)


# --- download ----------------------------------------------------------------------------------


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


def fetch(checkpoint: Checkpoint, say: Say = _silent) -> Path:
    """Download what is missing of a checkpoint into the cache, and verify all of it.

    A file that is there is verified and not downloaded; a download that was cut is continued.
    A progress bar is drawn on standard error where that is a terminal.

    Args:
        say: gets one line for each thing done, for a person to read.

    Returns:
        the directory of the snapshot, as `locate` gives it.

    Raises:
        HashMismatch: a file, there or just downloaded, is not the published one; it is removed.
        HubUnreachable: the hub did not answer, or HF_HUB_OFFLINE forbids to ask it.
        HubError: the hub refused, or the cache cannot be written.
        MissingExtra: huggingface_hub is not installed.
        SettingsError: an HF_* variable is one that it cannot read.
    """
    snapshot = _snapshot(checkpoint)
    for file in checkpoint.files:
        path = snapshot / file.name
        with _cache_errors():
            if path.is_file():
                expected = file.digest or _digest_of_etag(_blob_name(path))
                expected = expected or _ask(checkpoint, file).digest
                say(f"{file.name}: here already, verifying")
                _check(path, expected, str(path))
            else:
                stated = _ask(checkpoint, file)
                expected = file.digest or stated.digest
                _refuse_another_file(checkpoint, file, stated)
                _download(checkpoint, file, stated, say)
        source = "as published" if file.digest else "as the hub states; none is published for it"
        say(f"{file.name}: {expected}, {source}")
    return snapshot


def _blob_name(path: Path) -> str:
    """The ETag of a file in a snapshot; without links, as on some Windows machines, its name."""
    return path.readlink().name if path.is_symlink() else path.name


def _url(checkpoint: Checkpoint, file: HubFile) -> str:
    library = _library("file_download")
    return str(library.hf_hub_url(checkpoint.repo, file.name, revision=checkpoint.revision))


def _ask(checkpoint: Checkpoint, file: HubFile) -> _Stated:
    """Ask the hub about a file, once: a dead network is told at once."""
    url = _url(checkpoint, file)
    with _hub_errors(checkpoint, file, _elsewhere(checkpoint)):
        answer = _library("file_download").get_hf_file_metadata(url, library_name="esm2")
    if answer.commit_hash != checkpoint.revision:
        raise HubError(
            f"{url} is answered with commit {answer.commit_hash}, not with the pinned one;"
            " check HF_ENDPOINT"
        )
    digest = _digest_of_etag(answer.etag or "")
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
    url, storage = _url(checkpoint, file), _storage(checkpoint)
    blob = storage / "blobs" / stated.etag
    link = _snapshot(checkpoint) / file.name
    # Where huggingface_hub has its locks: neither of us writes a blob that the other is writing.
    lock = storage.parent / ".locks" / storage.name / f"{stated.etag}.lock"
    for path in (blob, link, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _library("utils").WeakFileLock(lock, timeout=_LOCK_TIMEOUT):
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
    with _hub_errors(checkpoint, file, advice), partial.open("ab") as body:
        headers = _library("utils").build_hf_headers(library_name="esm2")
        # A compressed body cannot be continued at a byte of the file.
        headers["Accept-Encoding"] = "identity"
        _library("file_download").http_get(
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


# --- what can go wrong, in one sentence --------------------------------------------------------


def _elsewhere(checkpoint: Checkpoint) -> str:
    return (
        f"run `esm2 fetch {checkpoint.slug}` on a machine with internet and copy"
        f" {_storage(checkpoint)} from there to here, or name a checkpoint with"
        f" --model {checkpoint.slug}=PATH"
    )


@contextmanager
def _cache_errors() -> Iterator[None]:
    """A disk that is full, read-only or broken, as a HubError."""
    try:
        yield
    except OSError as error:
        where = error.filename or cache_directory()
        raise HubError(
            f"the cache {cache_directory()} cannot be used ({where}: {error.strerror or error});"
            " make room there or make it writable, or set HF_HOME to another directory"
        ) from error


@contextmanager
def _hub_errors(checkpoint: Checkpoint, file: HubFile, advice: str) -> Iterator[None]:
    """Whatever huggingface_hub raises while it talks to the hub, as a HubError."""
    errors = _library("errors")
    # HTTPError of httpx in huggingface_hub 1, of httpx2 in 2: the base of its own error in both.
    transport = errors.HfHubHTTPError.__bases__[0]
    endpoint = _library("constants").ENDPOINT
    asked = f"{endpoint} for {file.name} of {checkpoint.repo} at {checkpoint.revision[:12]}"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise HubUnreachable(
            f"HF_HUB_OFFLINE forbids to ask {asked}; unset it, or {advice}"
        ) from error
    except errors.HfHubHTTPError as error:
        raise HubError(_refusal(error.response.status_code, asked)) from error
    except transport as error:
        raise HubUnreachable(
            f"no answer when asking {asked} ({_first_line(error)}); {advice}"
        ) from error
    except Exception as error:  # an address or a proxy that is none, a body of another length, ...
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the hub
        raise HubError(f"asking {asked} failed ({_first_line(error)}); {advice}") from error


def _refusal(status: int, asked: str) -> str:
    advice = {
        401: "set HF_TOKEN to a valid token, or unset one that is not",
        403: "the token in HF_TOKEN may not read it: use another one",
        404: "it is published there, so check HF_ENDPOINT and HF_TOKEN",
        429: "too many requests: wait, or set HF_TOKEN",
    }
    return f"asked {asked}, the hub answered {status}; {advice.get(status, 'try again later')}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
