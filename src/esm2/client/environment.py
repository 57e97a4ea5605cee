"""What clients read from the environment, under the names that BioLM's own clients use.

BIOLMAI_TOKEN          the token                        `esm2 embed --url`, ESM2_8M ... ESM2_3B
BIOLMAI_BASE_DOMAIN    http://host:port of the server   ESM2_8M ... ESM2_3B

They are not called ESM2_*: those are settings of a server, which refuses any that it does not know.
"""

from __future__ import annotations

import os

TOKEN = "BIOLMAI_TOKEN"  # noqa: S105  # the name of a variable
ADDRESS = "BIOLMAI_BASE_DOMAIN"

#: Where `esm2 serve` listens unless told otherwise; where biolmai 0.1 looks with BIOLMAI_LOCAL.
DEFAULT_ADDRESS = "http://127.0.0.1:8000"


def token() -> str | None:
    """The token, if there is one."""
    return os.environ.get(TOKEN) or None


def address() -> str:
    """The address of the server."""
    given = os.environ.get(ADDRESS) or DEFAULT_ADDRESS
    return given if "://" in given else f"http://{given}"
