"""The variables that Kubernetes sets in every pod beside a Service, which are nobody's settings.

    ESM2_SERVICE_HOST=10.0.0.1  ESM2_PORT=tcp://10.0.0.1:8000  ESM2_PORT_8000_TCP_PROTO=tcp ...

Source: kubernetes.io/docs/concepts/services-networking/service, Environment variables.
"""

from __future__ import annotations

import re

_PORT = r"(tcp|udp|sctp)://\S+:\d+"
#: What is named after a Service -> what is written there.
_KNOWN = {
    "SERVICE_HOST": r"[0-9a-fA-F.:]+",
    "SERVICE_PORT(_[A-Z0-9_]+)?": r"\d+",
    "PORT": _PORT,
    r"PORT_\d+_(TCP|UDP|SCTP)": _PORT,
    r"PORT_\d+_(TCP|UDP|SCTP)_PROTO": "tcp|udp|sctp",
    r"PORT_\d+_(TCP|UDP|SCTP)_PORT": r"\d+",
    r"PORT_\d+_(TCP|UDP|SCTP)_ADDR": r"[0-9a-fA-F.:]+",
}


def sets(name: str, value: str, prefix: str) -> bool:
    """Whether a variable is one of those.

    Args:
        prefix: of the names of our settings; the Service is called so, or so and more.
    """
    name = name.upper()
    if not name.startswith(prefix):
        return False
    return any(
        re.search(f"(^|_){known}$", name.removeprefix(prefix)) and re.fullmatch(of, value)
        for known, of in _KNOWN.items()
    )
