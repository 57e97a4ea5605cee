"""Why no whole reply came, and what to do: one sentence for a person. Pure.

httpx2's error  ──>  ServerUnreachable("no answer from http://...: {reason}; {advice}")
"""

from __future__ import annotations

import httpx2

from esm2.errors import ServerUnreachable

#: Seconds to connect.
CONNECT = 10.0

# What OpenSSL calls it -> the advice.
_OF_TLS = {
    "WRONG_VERSION_NUMBER": "it may speak no TLS: try http:// instead of https://",
    "RECORD_LAYER_FAILURE": "it may speak no TLS: try http:// instead of https://",
    "not valid for": "use a name of the server that its certificate has",
    "has expired": "the server needs a new certificate",
    "CERTIFICATE_VERIFY_FAILED": (
        "if the certificate is your own, or of an authority of your own, name its file (PEM) in the"
        " variable SSL_CERT_FILE"
    ),
}


def reason(error: httpx2.HTTPError, timeout: float) -> str:
    """What went wrong, as part of a sentence."""
    if isinstance(error, httpx2.ReadTimeout):
        return f"it was silent for {timeout:g} s"
    if isinstance(error, httpx2.ConnectTimeout):
        return f"it did not take a connection within {CONNECT:g} s"
    if isinstance(error, httpx2.ReadError | httpx2.WriteError):
        return "the connection was lost"
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return said[0].lower() + said[1:]


def unreachable(
    url: str, error: httpx2.HTTPError, timeout: float, *, answered: bool
) -> ServerUnreachable:
    """The error to be raised.

    Args:
        answered: whether the server has ever answered.
    """
    why = reason(error, timeout)
    if isinstance(error, httpx2.ReadTimeout):
        return ServerUnreachable(url, why, "raise timeout=, or ask for less at once")
    said = str(error)
    for sign, advice in _OF_TLS.items():
        if sign in said:
            return ServerUnreachable(url, why, advice)
    hung_up = isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError)
    if hung_up and not answered and url.startswith("http:"):
        return ServerUnreachable(url, why, "if it speaks TLS, write https:// instead of http://")
    return ServerUnreachable(url, why)
