"""A Ray cluster on this machine: what the tests of engines on other machines run on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ray.cluster_utils import Cluster

# Ray would write a token into the home directory. Commands that tests start have this, too.
os.environ["RAY_AUTH_MODE"] = "disabled"


@contextmanager
def two_nodes() -> Iterator[str]:
    """Two nodes with a CPU each; the address of their head."""
    head = {"num_cpus": 1, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes.add_node(num_cpus=1)
        signal.signal(signal.SIGTERM, before)  # Ray put its own there, which other tests would meet
        yield nodes.address
    finally:
        nodes.shutdown()
