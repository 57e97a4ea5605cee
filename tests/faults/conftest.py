"""Workers whose children are processes of this one, or actors of a Ray cluster."""

from __future__ import annotations

import pytest

from esm2.worker import Process, Worker
from tests.faults.engines import SLUG, Faulty


@pytest.fixture
def where(request):
    """What starts the children of workers."""
    if getattr(request, "param", "process") == "process":
        return Process
    return request.getfixturevalue("at_a_place")


@pytest.fixture(scope="module")
def at_a_place(ray_cluster):
    """What starts actors at a place of a cluster, of which this process is a driver."""
    from esm2 import cluster

    with cluster.connected(ray_cluster):
        yield cluster.starting(cluster.places("cpu")[0])


@pytest.fixture
def worker(tmp_path, where):
    """Start workers; all end with the test."""
    started = []

    def starting(*, hung_seconds=30.0, start=where, **how):
        restarts = []
        own = Worker(
            Faulty(tmp_path, **how),
            SLUG,
            hung_seconds=hung_seconds,
            watch=restarts.append,
            start=start,
        )
        started.append(own)
        own.restarts = restarts
        return own

    yield starting
    for own in started:
        own.close()
