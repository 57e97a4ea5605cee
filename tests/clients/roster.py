"""Who the clients are, and how each is run: a program of its own, once, with all its cases.

    Client  +  [Case]   ->   program, in its environment   ->   case -> report

A report is what the client gave its user: results, an error in whatever form, or an exception.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.clients import cases
from tests.clients.cases import TOKEN, Case, Refusal
from tests.wire.server import PATIENCE, environment

ENVIRONMENTS = Path(__file__).parents[2] / ".clients"
PROGRAMS = Path(__file__).with_name("programs")

#: Nobody is spoken to but our server: a call to any https address ends here.
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class User:
    """Who runs a client.

    Attributes:
        home: a home directory.
        url: where the server is.
        before: put before a command, so that it reaches the server.
    """

    home: Path
    url: str
    before: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Client:
    """A client.

    Attributes:
        name: what the table calls it.
        program: in `programs`; clients with the same one report alike.
        environment: its directory in .clients; empty for what is installed otherwise.
        variables: of its process; URL stands for the server's address.
        port: the only port that it can speak to, 0 for any.
        options: how its SDK's client is made where a case does not say.
        singly: whether, in the end, it sends the items of a refused request one by one.
        shared: the name of a column of the table for several clients; empty for one of its own.
    """

    name: str
    dialect: Literal["v1", "v2", "v3"]
    program: str
    environment: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    port: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    singly: bool = False
    shared: str = ""

    @property
    def column(self) -> str:
        return self.shared or self.name

    def missing(self) -> str:
        """Why it cannot be run here; empty if it can."""
        if self.environment:
            made = (ENVIRONMENTS / self.environment / "installed.txt").exists()
            return "" if made else _reason(self.environment)
        if self.program.endswith(".sh"):
            return "" if shutil.which("curl") else "curl is not installed"
        if self.program.endswith(".R"):
            return "" if _has_rcurl() else _reason("R")
        return ""

    def numbers(self) -> tuple[Case, ...]:
        """What it is to be answered."""
        asked = (cases.EVERYTHING, cases.DEFAULTS, cases.PREDICT)
        if self.program == "classes.py":
            return (*asked, cases.MANY, cases.FILE)
        if self.program == "one_liners.py":  # LISTS before anything that asks for a schema
            return (cases.LISTS, *asked, cases.MANY, cases.LOG_PROB, cases.FILE)
        return asked if self.dialect == "v2" else (*asked, cases.LOG_PROB)

    def refusals(self) -> tuple[Refusal, ...]:
        """What it is to be refused."""
        if self.program == "classes.py":
            return cases.REFUSALS
        if self.program == "one_liners.py":
            return (*cases.REFUSALS, cases.AGAIN, cases.NOT_AGAIN)
        return (*cases.REFUSALS, cases.TOO_MANY)

    def cases(self) -> list[Case]:
        """All it asks, in this order."""
        return [*self.numbers(), *(refusal.case for refusal in self.refusals())]

    def reports(self, user: User) -> dict[str, Any]:
        """Run its program: name of a case -> report.

        A program of an SDK takes all as one JSON and prints all as one, in its last line. The
        others take a line and print a line for each call: see `posts.py`.
        """
        asked = self.cases()
        program = str(PROGRAMS / self.program)
        command = {".py": self.python(), ".sh": "bash", ".R": "Rscript"}[Path(program).suffix]
        if self.environment:
            sent = json.dumps([vars(case) | self._made(case) for case in asked])
            said = self.execute([command, program], user, sent).splitlines()
            return json.loads(said[-1])
        sent = "".join(f"{self._line(case, user.url)}\n" for case in asked)
        said = self.execute([command, program], user, sent).splitlines()
        answers = [line.rsplit("\t", 1) for line in said]
        return {
            case.name: {"status": int(status), "body": json.loads(body)}
            for case, (body, status) in zip(asked, answers, strict=True)
        }

    def _made(self, case: Case) -> dict[str, Any]:
        return {"options": self.options | dict(case.options)}

    def _line(self, case: Case, url: str) -> str:
        token = {"good token": TOKEN, "wrong token": "wrong-secret"}.get(case.credentials, "none")
        slash = "" if self.dialect == "v1" else "/"
        address = f"{url}/api/{self.dialect}/{case.slug}/{case.action}{slash}"
        return "\t".join((token, address, json.dumps(case.body())))

    def python(self) -> str:
        """Its interpreter."""
        own = ENVIRONMENTS / self.environment / "bin/python"
        return str(own) if self.environment else sys.executable

    def execute(self, command: Sequence[str], user: User, sent: str = "", **more: str) -> str:
        """Run a command with this client's variables; its standard output."""
        own = {name: value.replace("URL", user.url) for name, value in self.variables.items()}
        plain = {"HTTPS_PROXY": _NOWHERE, "COLUMNS": "120", "NO_COLOR": "1"}
        done = subprocess.run(
            [*user.before, *command],
            input=sent,
            env=environment(HOME=str(user.home), **plain, **own | more),
            cwd=user.home,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def _reason(name: str) -> str:
    """Why an environment was not made (tools/clients.py)."""
    said = ENVIRONMENTS / f"{name}.txt"
    return said.read_text().strip() if said.exists() else f"{name} is not there; make clients"


@functools.cache
def _has_rcurl() -> bool:
    command = ["Rscript", "-e", "library(RCurl)"]
    return bool(shutil.which("Rscript")) and not (
        subprocess.run(command, capture_output=True, check=False).returncode
    )


# --- the clients ---------------------------------------------------------------------------------

# On machines of few cores the SDKs refuse their own default of 16 threads.
_BIOLMAI = {"BIOLMAI_TOKEN": TOKEN, "BIOLMAI_THREADS": "2"}
_BIOLM = {"BIOLM_TOKEN": TOKEN, "BIOLM_THREADS": "2", "SCHEMAS": "URL/api/v3"}

CLASSES_0_1 = Client(
    "biolmai 0.1.10 classes, v2",
    "v2",
    "classes.py",
    "biolmai-0.1.10",
    _BIOLMAI | {"BIOLMAI_LOCAL": "1"},
    port=8000,
    singly=True,
)
CLASSES_0_2 = Client(
    "biolmai 0.2.18 classes, v3",
    "v3",
    "classes.py",
    "biolmai-0.2.18",
    _BIOLMAI | {"BIOLMAI_BASE_DOMAIN": "URL"},
    singly=True,
)
BIOLMAI_0_2 = Client(
    "biolmai 0.2.18, v3",
    "v3",
    "one_liners.py",
    "biolmai-0.2.18",
    _BIOLMAI | {"BIOLMAI_BASE_DOMAIN": "URL"},
)
BIOLMAI_0_4 = Client(
    "biolmai 0.4.0, v3",
    "v3",
    "one_liners.py",
    "biolmai-0.4.0",
    _BIOLMAI | {"BIOLMAI_BASE_DOMAIN": "URL"},
    singly=True,
)
HOSTED = Client(
    "biolm-sdk 1.7.0, v3",
    "v3",
    "one_liners.py",
    "biolm-sdk-1.7.0",
    _BIOLM | {"BIOLM_BASE_API_URL": "URL/api/v3", "BIOLM_BASE_DOMAIN": "URL"},
    singly=True,
)
HUB = Client(
    "biolm-sdk 1.7.0 hub mode, v1",
    "v1",
    "one_liners.py",
    "biolm-sdk-1.7.0",
    _BIOLM | {"BIOLM_BASE_API_URL": "URL/api/v1", "BIOLM_BASE_DOMAIN": "URL"},
    singly=True,
)
POSTS = [
    Client(f"{name}, {dialect}", dialect, program, shared=f"requests, curl, R, {dialect}")
    for name, program in (
        ("requests", "posts.py"),
        ("curl", "posts.sh"),
        ("R with RCurl", "posts.R"),
    )
    for dialect in ("v1", "v2", "v3")
]
SDKS = [CLASSES_0_1, CLASSES_0_2, BIOLMAI_0_2, BIOLMAI_0_4, HOSTED, HUB]
ALL = [*SDKS, *POSTS]
