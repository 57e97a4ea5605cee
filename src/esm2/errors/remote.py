"""What is wrong between a client and a server."""

from __future__ import annotations

from esm2.errors.base import Esm2Error


class ServerUnreachable(Esm2Error):
    """No whole reply came: nothing listens there, or it hung up, or it took too long.

    Attributes:
        url: the address of the server.
    """

    code = "server.unreachable"

    def __init__(
        self, url: str, reason: str, advice: str = "is `esm2 serve` running there?"
    ) -> None:
        self.url = url
        super().__init__(f"no answer from {url}: {reason}; {advice}")


class UnexpectedReply(Esm2Error):
    """A reply that no esm2 server gives, or not to this question, or that is damaged.

    Attributes:
        reason: what is strange about it.
    """

    code = "server.unexpected_reply"

    def __init__(self, reason: str, advice: str = "is this the address of an esm2 server?") -> None:
        self.reason = reason
        super().__init__(f"{reason}; {advice}")


class Refused(Esm2Error):
    """A refusal that this version has no class for.

    Attributes:
        status: of the reply.
        code: as the server gave it.
    """

    code = "server.refused"

    def __init__(self, message: str, status: int, code: str = "server.refused") -> None:
        self.status = status
        self.code = code
        super().__init__(message)
