"""What can go wrong between a cache and the hub, each as one sentence with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from esm2.catalog import Checkpoint, HubFile
from esm2.errors import HubError, HubUnreachable
from esm2.hub.cache import cache_directory, library, other_revision, storage_of


def elsewhere(checkpoint: Checkpoint) -> str:
    return (
        f"run `esm2 fetch {checkpoint.slug}` on a machine with internet and copy"
        f" {storage_of(checkpoint)} from there to here, or name a checkpoint with"
        f" --model {checkpoint.slug}=PATH{other_revision(checkpoint)}"
    )


@contextmanager
def cache_errors() -> Iterator[None]:
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
def hub_errors(checkpoint: Checkpoint, file: HubFile, advice: str) -> Iterator[None]:
    """Whatever huggingface_hub raises while it talks to the hub, as a HubError."""
    errors = library("errors")
    # HTTPError of httpx in huggingface_hub 1, of httpx2 in 2: the base of its own error in both.
    transport = errors.HfHubHTTPError.__bases__[0]
    endpoint = library("constants").ENDPOINT
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
