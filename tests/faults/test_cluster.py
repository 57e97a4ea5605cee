"""Engines on the machines of a Ray cluster: the numbers of one engine here, whatever dies there."""

from __future__ import annotations

import os
import signal
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from functools import partial

import pytest

from esm2 import budget
from esm2.alphabet import tokenize
from esm2.batcher import Batcher, Budget
from esm2.catalog import DEMO_SLUG
from esm2.errors import SettingsError
from esm2.loading import Load, parse_spec
from esm2.runtime import open_model
from esm2.types import ForwardRequest, Want
from esm2.watch import Pass
from esm2.worker import Worker
from tests.near import assert_same
from tests.oracles import flat
from tests.proteins import residues

PATIENCE = 60
EVERYTHING = Want((0, 6), mean=True, per_token=True, bos=True, logits=True, contacts=True)


@pytest.fixture(scope="module")
def cluster(ray_cluster):
    from esm2 import cluster

    with cluster.connected(ray_cluster):
        yield cluster


def test_two_machines_give_every_bit_of_one_engine_also_when_one_dies_in_mid_batch(cluster):
    requests = [
        ForwardRequest(tokenize("".join(residues(20 + 9 * i, seed=i))), EVERYTHING)
        for i in range(40)
    ]
    with open_model(DEMO_SLUG, device="cpu") as here:
        shape = here.decided.shape
        expected = [here.submit(request).result(PATIENCE) for request in requests]
    passes = []
    workers = [
        Worker(
            Load(parse_spec(DEMO_SLUG), "cpu", "auto", 1024),
            DEMO_SLUG,
            start=cluster.starting(place),
            watch=passes.append,
        )
        for place in cluster.places("cpu")
    ]
    cluster.alike([("", worker.decided) for worker in workers])
    assert len({worker.pid for worker in workers}) == 2
    cost = partial(budget.cost, shape=shape)
    batcher = Batcher(workers, cost, Budget(1024, 10**9), watch=passes.append)
    futures = [batcher.submit(request) for request in requests]
    os.kill(workers[0].pid, signal.SIGSTOP)  # so that it has a batch in hand
    wait(futures, PATIENCE, FIRST_COMPLETED)
    os.kill(workers[0].pid, signal.SIGKILL)
    for future, own in zip(futures, expected, strict=True):
        got, want = flat(future.result(PATIENCE)), flat(own)
        assert got.keys() == want.keys()
        for name, array in want.items():
            assert_same(got[name], array)
    batcher.close()
    for worker in workers:
        worker.close()
    assert "engine.crashed" in {one.failed for one in passes if isinstance(one, Pass)}


def test_machines_that_compute_otherwise_are_refused_by_name_and_threads_do_not_matter(cluster):
    with open_model(DEMO_SLUG, device="cpu") as here:
        one = here.decided
    cluster.alike([("a", one), ("b", replace(one, threads=one.threads + 1))])
    with pytest.raises(SettingsError, match=f"on b kernel is other and was {one.kernel} on a; "):
        cluster.alike([("a", one), ("b", replace(one, kernel="other"))])


@pytest.mark.parametrize(
    ("device", "sentence"), [("cuda", "has no GPU"), ("cuda:1", "auto, cpu or cuda; 'cuda:1' is")]
)
def test_a_device_that_a_cluster_has_not_is_refused(cluster, device, sentence):
    with pytest.raises(SettingsError, match=sentence):
        cluster.places(device)
