"""What clients read from the environment, under the names that BioLM's own clients use.

ESM2_TOKEN             the token                        `esm2 embed --url`, ESM2_8M ... ESM2_3B
BIOLMAI_TOKEN, BIOLM_TOKEN    the same, where there is no ESM2_TOKEN
BIOLMAI_BASE_DOMAIN    http://host:port of the server   ESM2_8M ... ESM2_3B

A server does not start where ESM2_TOKEN is set: it may be a misspelled ESM2_TOKENS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from esm2.client.address import address as checked
from esm2.client.wire import authorization
from esm2.errors import SettingsError

TOKENS = ("ESM2_TOKEN", "BIOLMAI_TOKEN", "BIOLM_TOKEN")
TOKEN = TOKENS[0]
ADDRESS = "BIOLMAI_BASE_DOMAIN"

#: Where `esm2 serve` listens unless told otherwise; where biolmai 0.1 looks with BIOLMAI_LOCAL.
DEFAULT_ADDRESS = "http://127.0.0.1:8000"


def token() -> str | None:
    """The token, of the first variable that has one.

    Raises:
        SettingsError: it cannot stand in a header; it names the variable.
    """
    for name in TOKENS:
        if given := os.environ.get(name):
            with _named(name):
                authorization(given)
            return given
    return None


def address() -> str:
    """The address of the server.

    Raises:
        SettingsError: it is none; it names the variable.
    """
    given = os.environ.get(ADDRESS) or DEFAULT_ADDRESS
    with _named(ADDRESS):
        return checked(given if "://" in given else f"http://{given}")


@contextmanager
def _named(variable: str) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{variable}: {error}") from error
