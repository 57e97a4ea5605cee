"""What is wrong with this server or this installation."""

from __future__ import annotations

from pathlib import Path

from esm2.errors.base import Esm2Error


class Unauthenticated(Esm2Error):
    """No token, or one that this server does not know."""

    code = "auth.unauthenticated"


class Overloaded(Esm2Error):
    """The queue is full.

    Attributes:
        queued, limit: cost waiting and the most that may wait, in tokens.
    """

    code = "service.overloaded"

    def __init__(self, queued: int, limit: int) -> None:
        self.queued = queued
        self.limit = limit
        super().__init__(
            f"the queue is full ({queued} of {limit} tokens are waiting); try again later"
        )


class ShuttingDown(Esm2Error):
    """The server is stopping and takes no more work."""

    code = "service.shutting_down"

    def __init__(self) -> None:
        super().__init__("the server is stopping and takes no more work; try again later")


class EngineError(Esm2Error):
    """The forward pass failed; the request was not at fault as far as is known."""

    code = "engine.failed"


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


class SettingsError(Esm2Error):
    """A setting, or a combination of settings, that cannot be."""

    code = "settings.invalid"


class MissingExtra(SettingsError):
    """An optional dependency is not installed."""

    code = "settings.missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"this needs {package}: pip install 'esm2[{extra}]'")
