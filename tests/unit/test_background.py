"""The client's event loop, ended at a bad moment."""

import gc
import http.server
import threading
import warnings

import httpx2
import pytest

from esm2.client.background import Background


@pytest.fixture
def address():
    """A server that takes connections and says nothing to them."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        yield f"http://127.0.0.1:{server.server_port}/"


def test_a_loop_that_ends_while_connections_are_made_leaves_nothing_unawaited(address):
    """Python tells of such coroutines when it exits, below the command's last sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pause in range(0, 50, 5):
            background = Background()
            client = httpx2.AsyncClient()
            futures = [background.submit(client.get(address)) for _ in range(30)]
            threading.Event().wait(pause * 1e-4)  # each time at another moment of theirs
            for future in futures:
                future.cancel()
            background.close(client.aclose)
            del futures
            gc.collect()
