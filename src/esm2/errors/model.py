"""What is wrong with a model, its weights, or the way to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from esm2.errors.base import Esm2Error


class UnknownModel(Esm2Error):
    """A model name that means nothing here.

    Attributes:
        name: the name asked for.
        nearest: known names that resemble it, best first.
    """

    code = "model.unknown"

    def __init__(self, name: str, nearest: Sequence[str], known: Sequence[str]) -> None:
        self.name = name
        self.nearest = tuple(nearest)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(known)}"
        super().__init__(f"no model is called {name[:80]!r}; {hint}")


class ModelNotServed(Esm2Error):
    """A model that is known, but that this server does not serve."""

    code = "model.not_served"

    def __init__(self, slug: str, served: Sequence[str]) -> None:
        self.slug = slug
        super().__init__(
            f"{slug} is not served here (served: {', '.join(served)}); on the server, run"
            f" `esm2 fetch {slug}` and start it with `esm2 serve --model {slug}`"
        )


class WeightsMissing(Esm2Error):
    """No weights for a model on this machine.

    Attributes:
        slug: the model.
        places: where they were looked for.
    """

    code = "model.weights_missing"

    def __init__(self, slug: str, places: Sequence[str], note: str = "") -> None:
        self.slug = slug
        self.places = tuple(places)
        super().__init__(
            f"no weights for {slug} on this machine (looked in {', '.join(places)}){note}; run"
            f" `esm2 fetch {slug}` with internet, or name a checkpoint with --model {slug}=PATH"
        )


class NoReference(Esm2Error):
    """Nobody published reference numbers for a model, so it cannot be verified.

    Attributes:
        slug: the model.
    """

    code = "model.no_reference"

    def __init__(self, slug: str, known: Sequence[str]) -> None:
        self.slug = slug
        super().__init__(
            f"there are no published numbers to verify {slug} against, so nothing was verified;"
            f" there are for {', '.join(known)} (a copy of one of them: SLUG=PATH with its slug)"
        )


class CheckpointError(Esm2Error):
    """A checkpoint that cannot be loaded as ESM-2.

    Attributes:
        path: the file or directory.
        reason: what is wrong; it names the tensor or the setting.
    """

    code = "checkpoint.invalid"

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class HubError(Esm2Error):
    """Weights could not be fetched."""

    code = "hub.failed"


class HubUnreachable(HubError):
    """The hub did not answer, or may not be asked (HF_HUB_OFFLINE)."""

    code = "hub.unreachable"


class HashMismatch(HubError):
    """A file is not the one that the catalog pins.

    Attributes:
        path: the file.
        expected, found: digests, "sha256:..." or "git-sha1:...".
        advice: what to do about it.
    """

    code = "hub.hash_mismatch"

    def __init__(
        self,
        path: Path | str,
        expected: str,
        found: str,
        advice: str = "delete it and fetch it again",
    ) -> None:
        self.path = str(path)
        self.expected = expected
        self.found = found
        self.advice = advice
        super().__init__(
            f"{path} is not the published file: expected {expected}, found {found}; {advice}"
        )
