"""The address of a server, as people write it. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from esm2.arguments import text
from esm2.errors import SettingsError
from esm2.hosts import is_loopback


def address(url: str) -> str:
    """The address without a final slash; it may have a path, where a proxy puts the server.

    Raises:
        TypeError: it is no str.
        SettingsError: it is none, or holds more than an address.
    """
    text(url, "url", "pass one str, like 'http://127.0.0.1:8000'")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, an unfinished [IPv6] address
        whole = False
    if not whole or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"{url[:200]!r} is no address; write it like http://127.0.0.1:8000")
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(
            f"the address of {parts.hostname} has a user, a query or a fragment in it; give only"
            " scheme, host, port and path, and the token apart from it"
        )
    return url.rstrip("/")


def on_this_machine(url: str) -> bool:
    """Whether an address is on this machine, where no proxy stands between."""
    return is_loopback(urlsplit(url).hostname or "")
