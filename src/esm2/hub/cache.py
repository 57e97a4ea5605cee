"""The Hugging Face cache of this machine: what is in it, and whether it is what was published."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from pathlib import Path
from types import ModuleType

from esm2.catalog import Checkpoint
from esm2.errors import HashMismatch, HubError, MissingExtra, SettingsError, WeightsMissing

_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


# --- find --------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """The Hugging Face cache of this process, whether it exists or not.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        SettingsError: an HF_* variable is one that it cannot read.
    """
    return Path(library("constants").HF_HUB_CACHE)


def locate(checkpoint: Checkpoint) -> Path | None:
    """The directory with all files of a checkpoint at its pinned revision, or None.

    Looks at the cache only: no network, no verification, no exception. None too where
    huggingface_hub is not installed; `weights_missing` tells the two apart.
    """
    try:
        snapshot = snapshot_of(checkpoint)
    except SettingsError:
        return None
    # os.path.isfile is False where pathlib raises: a directory that may not be read.
    if all(os.path.isfile(snapshot / file.name) for file in checkpoint.files):  # noqa: PTH113
        return snapshot
    return None


def weights_missing(checkpoint: Checkpoint) -> WeightsMissing:
    """The error for a checkpoint that `locate` did not find: the place, and what is beside it."""
    places = [str(snapshot_of(checkpoint))]
    return WeightsMissing(checkpoint.slug, places, other_revision(checkpoint))


def other_revision(checkpoint: Checkpoint) -> str:
    """What to say of a checkpoint's other revisions in the cache; "" where there is none."""
    snapshot = snapshot_of(checkpoint)
    others = [
        other
        for other in snapshot.parent.glob("*")
        if other != snapshot
        and (other / "config.json").is_file()
        and any(path.is_file() for pattern in _WEIGHT_FILES for path in other.glob(pattern))
    ]
    if not others:
        return ""
    newest = max(others, key=lambda other: other.stat().st_mtime)
    return f"; another revision is at {newest}, to be used with --model {checkpoint.slug}={newest}"


def library(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"huggingface_hub.{module}")
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "torch", alone=True) from error
    except ValueError as error:  # it turns its variables into numbers while it is imported
        raise SettingsError(
            f"an HF_* variable cannot be read: {error}; mend or unset it"
        ) from error


def storage_of(checkpoint: Checkpoint) -> Path:
    return cache_directory() / f"models--{checkpoint.repo.replace('/', '--')}"


def snapshot_of(checkpoint: Checkpoint) -> Path:
    return storage_of(checkpoint) / "snapshots" / checkpoint.revision


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub; then nothing in the cache is changed."""
    return bool(library("constants").HF_HUB_OFFLINE)


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


def digest_of(path: Path, like: str) -> str:
    """The digest of a file in the notation of another: "sha256:..." or "git-sha1:..."."""
    kind = like.partition(":")[0]
    return f"{kind}:{sha256(path) if kind == 'sha256' else _git_sha1(path)}"


def digest_of_etag(etag: str) -> str:
    """An ETag of the hub as a digest; "" if it is not one."""
    if re.fullmatch("[0-9a-f]{64}", etag):
        return f"sha256:{etag}"
    return f"git-sha1:{etag}" if re.fullmatch("[0-9a-f]{40}", etag) else ""


def refuse_changed(checkpoint: Checkpoint, snapshot: Path) -> None:
    """Refuse a snapshot in which a small file is not the published one; nothing is changed.

    The weights are hashed when they are loaded. A configuration is not, and decides over numbers.

    Raises:
        HashMismatch: naming the file.
        HubError: it cannot be read.
    """
    for file in checkpoint.files:
        if file.digest.startswith("git-sha1:"):
            path = snapshot / file.name
            try:
                found = digest_of(path, file.digest)
            except OSError as error:
                raise HubError(f"{path} cannot be read: {error.strerror or error}") from error
            if found != file.digest:
                raise HashMismatch(path, file.digest, found, left_alone(checkpoint))


def left_alone(checkpoint: Checkpoint) -> str:
    """The advice for a wrong file that was found by somebody who may not change the cache."""
    unset = "unset HF_HUB_OFFLINE and " if offline() else ""
    return f"nothing was changed; to replace it, {unset}run `esm2 fetch {checkpoint.slug}`"


def remove(path: Path) -> None:
    """Remove a file and, where it is a link into the cache, what it leads to."""
    target = path.parent.absolute() / path.readlink() if path.is_symlink() else path
    target = Path(os.path.normpath(target))
    path.unlink(missing_ok=True)
    if target != path and cache_directory().absolute() in target.parents:
        remove(target)
