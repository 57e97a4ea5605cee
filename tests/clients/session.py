"""What one client asked, what was on the wire, and what it reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.cases import Case
from tests.clients.roster import Client, User
from tests.clients.tap import Heard, Tap


@dataclass(frozen=True)
class Session:
    """A client's program, run.

    Attributes:
        reports: name of a case -> report.
    """

    client: Client
    tap: Tap
    user: User
    reports: dict[str, Any]

    def report(self, case: Case) -> Any:
        return self.reports[case.name]

    def posts(self, case: Case) -> list[Heard]:
        """The requests that carried sequences of a case to its action."""
        return [
            heard
            for heard in self.tap.heard()
            if f"/{case.slug}/{case.action}" in heard.path
            and heard.method == "POST"
            and {item["sequence"] for item in heard.json()["items"]} & {*case.sequences}
        ]

    def command(self, *words: str, **variables: str) -> str:
        """What a command of its SDK prints; the server is the one that the program spoke to."""
        python = Path(self.client.python())
        command = [str(python), str(python.with_name(words[0])), *words[1:]]
        return self.client.execute(command, self.user, **variables)
