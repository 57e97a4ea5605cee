"""What is wrong with this server or this installation."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from esm2.errors.base import Esm2Error
from esm2.errors.extras import install_line


class Unauthenticated(Esm2Error):
    """No token, or one that this server does not know."""

    code = "auth.unauthenticated"


class TokensUnavailable(Esm2Error):
    """The token database cannot be reached, so it is not known who may ask."""

    code = "auth.unavailable"
    retry_after = 5


class Forbidden(Esm2Error):
    """A token that is good, but not for this.

    Attributes:
        scope: that it lacks.
    """

    code = "auth.forbidden"

    def __init__(self, scope: str, scopes: Collection[str]) -> None:
        self.scope = scope
        super().__init__(
            f"this token is good for {', '.join(sorted(scopes))} and not for {scope}; ask whoever"
            f" runs this server for one with the scope {scope}"
        )


class ForeignHost(Esm2Error):
    """A request under a name that is not this machine's, to a server without tokens.

    Attributes:
        host: the name.
    """

    code = "auth.foreign_host"

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"this server has no tokens and answers only as localhost, not as {_shown(host)}; start"
            " it with --allow-host and that name, or with tokens"
        )


class ForeignOrigin(Esm2Error):
    """A web page of elsewhere that asks a server without tokens.

    Attributes:
        origin: scheme, host and port of the page.
    """

    code = "auth.foreign_origin"

    def __init__(self, origin: str) -> None:
        self.origin = origin
        super().__init__(
            f"this server has no tokens and answers no page of {_shown(origin)}; start it with"
            " --allow-origin and that origin, or, behind a proxy, have that pass on the Host"
        )


def _shown(name: str) -> str:
    """What looks like a host or an origin; of anything else nobody knows what it is."""
    return name if re.fullmatch(r"(https?://)?[a-z0-9.:\[\]-]{1,80}", name) else "another name"


class RateLimited(Esm2Error):
    """A token whose budget of the last minute is used up.

    Attributes:
        budget: residues in a minute.
        retry_after: seconds until there is room for the same request.
    """

    code = "auth.rate_limited"

    def __init__(self, budget: int, retry_after: int) -> None:
        self.budget = budget
        self.retry_after = retry_after
        super().__init__(
            f"this token's budget of {budget} residues a minute is used up; try again in"
            f" {retry_after} s"
        )


class Overloaded(Esm2Error):
    """More waits than may wait.

    Attributes:
        queued, limit: cost waiting and the most that may wait, in tokens or what `unit` says.
        retry_after: seconds until there should be room.
        wait: seconds that the request would have waited; 0 where that was not the reason.
    """

    code = "service.overloaded"

    def __init__(
        self,
        queued: int,
        limit: int,
        retry_after: int = 1,
        wait: float = 0.0,
        *,
        unit: str = "tokens",
    ) -> None:
        self.queued = queued
        self.limit = limit
        self.retry_after = retry_after
        self.wait = wait
        reason = (
            f"a request would wait for {wait:.0f} seconds"
            if wait
            else f"{queued} of {limit} {unit} are waiting"
        )
        super().__init__(f"the queue is full ({reason}); try again in {retry_after} s")


class DeadlineExceeded(Esm2Error):
    """There was no answer in the time that the caller, or the server, allows.

    Attributes:
        seconds: the time allowed.
    """

    code = "service.deadline_exceeded"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"there was no answer within {seconds:g} seconds, and what was not computed yet was"
            " dropped; ask for less at once, or allow more time"
        )


class ModelUnavailable(Esm2Error):
    """A model cannot compute at the moment; the server goes on without it.

    Attributes:
        slug: the model.
        reason: what stands in the way.
        retry_after: seconds until it is tried again.
    """

    code = "service.model_unavailable"

    def __init__(self, slug: str, reason: str, retry_after: int = 1) -> None:
        self.slug = slug
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(f"{slug} is not available now: {reason}; try again in {retry_after} s")


class ShuttingDown(Esm2Error):
    """The server is stopping and takes no more work."""

    code = "service.shutting_down"
    retry_after = 5  # seconds, in which another one, or this one anew, is mostly there

    def __init__(self) -> None:
        super().__init__("the server is stopping and takes no more work; try again later")


class EngineError(Esm2Error):
    """The forward pass failed; the request was not at fault as far as is known."""

    code = "engine.failed"


class EngineLost(EngineError):
    """The process that computed is gone, and with it what it had in hand."""

    code = "engine.lost"


class EngineCrashed(EngineLost):
    """It died: killed, out of memory, or by a fault of its own.

    Attributes:
        slug: the model.
        how: of its end, "signal 9" or "exit status 1".
    """

    code = "engine.crashed"

    def __init__(self, slug: str, how: str) -> None:
        self.slug = slug
        self.how = how
        super().__init__(
            f"the process of {slug} died of this request ({how}); another took its place"
        )


class EngineHung(EngineLost):
    """It gave no answer for so long that it was killed.

    Attributes:
        slug: the model.
        seconds: that it was given.
    """

    code = "engine.hung"

    def __init__(self, slug: str, seconds: float) -> None:
        self.slug = slug
        self.seconds = seconds
        super().__init__(
            f"the process of {slug} gave no answer to this request in {seconds:.0f} s and was"
            " killed; another took its place"
        )


class NotFinite(EngineError):
    """The model gave NaN or infinity.

    Attributes:
        output: the output in which they were found.
    """

    code = "engine.not_finite"

    def __init__(self, output: str) -> None:
        self.output = output
        super().__init__(f"the model gave NaN or infinity in {output}; nothing is returned")


class FileError(Esm2Error):
    """A file that the operating system does not let us read or write.

    Attributes:
        path: the file, "-" for standard input.
        reason: what stands in the way.
    """

    code = "file.failed"

    def __init__(self, path: Path | str, doing: str, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"cannot {doing} {path}: {reason}")


class CannotResume(FileError):
    """A run that was interrupted cannot be gone on with as it is now asked for.

    Args:
        advice: what to do about it.

    Attributes:
        path: where what is there already is kept.
        differences: what is not the same, one sentence each.
    """

    code = "file.cannot_resume"

    def __init__(
        self,
        path: Path | str,
        differences: Sequence[str],
        advice: str = "ask for the same again, or begin anew with --restart",
    ) -> None:
        self.differences = tuple(differences)
        super().__init__(path, "go on with", f"{'; '.join(self.differences)}; {advice}")


class SettingsError(Esm2Error):
    """A setting, or a combination of settings, that cannot be.

    Attributes:
        setting: its field in `settings.Settings`, where it is not said in the sentence.
    """

    code = "settings.invalid"
    setting = ""

    def __init__(self, message: str, setting: str = "") -> None:
        self.setting = setting
        super().__init__(message)


class MissingExtra(SettingsError):
    """An optional dependency is not installed.

    Attributes:
        package: what is missing.
        extra: of ours, that has it.
    """

    code = "settings.missing_extra"

    def __init__(self, package: str, extra: str, *, alone: bool = False) -> None:
        self.package = package
        self.extra = extra
        line = install_line(extra, package if alone else "")
        super().__init__(f"this needs {package}: {line}")
