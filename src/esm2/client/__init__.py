"""A server's models from Python, without torch: numpy arrays over HTTP.

client     Client         aio    AsyncClient       sdk        ESM2_8M ... ESM2_3B, biolmai's classes
remote     for the command line                    background a loop for those who have none
wire  refusals  batches  retry  address            pure       environment   the only one to read it
"""

from __future__ import annotations

from esm2.client.aio import AsyncClient
from esm2.client.client import Client
from esm2.client.retry import Retry
from esm2.client.sdk import ESM2_3B, ESM2_8M, ESM2_35M, ESM2_150M, ESM2_650M

__all__ = [
    "Client",
    "AsyncClient",
    "Retry",
    "ESM2_8M",
    "ESM2_35M",
    "ESM2_150M",
    "ESM2_650M",
    "ESM2_3B",
]
