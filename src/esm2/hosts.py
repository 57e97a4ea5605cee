"""Names of machines: which of them are this one."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a name or an address can only mean this machine.

    `localhost` and what ends in `.localhost` are never looked up elsewhere (RFC 6761, 6.3).
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
