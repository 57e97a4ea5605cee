"""The server on Ray Serve, from the file that is deployed: right, whatever becomes of replicas."""

from __future__ import annotations

import http.client
import json
import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from esm2.catalog import DEMO_SLUG
from esm2.errors import SettingsError
from tests.services import free_port, until
from tests.wire.server import serving

FILE = Path(__file__).parents[2] / "deploy" / "ray-serve.yaml"
PATIENCE = 60
ENCODE = f"/api/v2/{DEMO_SLUG}/encode/"
LONG = {"items": [{"sequence": "MKTAYIAKQR" * 100}], "params": {"include": ["attentions"]}}
LONGS = 12  # of which so many may wait for one replica
CALLERS = 120  # far more than wait and are computed while they come


@pytest.fixture(scope="module")
def fleet(ray_cluster):
    """The file's application, of esm2-demo alone, on this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own use of pydantic
        from ray import serve
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

    from esm2 import cluster

    config = yaml.safe_load(FILE.read_text())
    config["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    config["proxy_location"] = "HeadOnly"
    (application,) = config["applications"]
    limit = LONGS * 11_000
    application["args"] = {"host": "127.0.0.1", "device": "cpu", "queue_tokens": limit}
    front, _, demo = application["deployments"]
    application["deployments"] = [front, demo]
    front["autoscaling_config"]["min_replicas"] = 1
    for one in (front, demo):
        one["ray_actor_options"] = {"num_cpus": 0.1}

    class Fleet:
        port = config["http_options"]["port"]

        def scale(self, replicas):
            demo["num_replicas"] = replicas
            _get_global_client().deploy_apps(ServeDeploySchema(**config))

        def healthy(self):
            status = serve.status().applications["esm2"]
            return status.status == "RUNNING"

        def post(self, body):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            connection.request(
                "POST", ENCODE, json.dumps(body), {"Content-Type": "application/json"}
            )
            reply = connection.getresponse()
            answer = reply.status, reply.read(), dict(reply.getheaders())
            connection.close()
            return answer

    with cluster.connected(ray_cluster):
        serve.start(http_options=config["http_options"], proxy_location="HeadOnly")
        own = Fleet()
        own.scale(2)
        until(own.healthy, "it does not start")
        yield own
        serve.shutdown()


@pytest.fixture(scope="module")
def expected():
    """What a server on this machine answers."""
    with serving() as here:
        return here.post(ENCODE, LONG).body


def replicas():
    """The pids of the model's replicas, whose parents are the nodes that this process started."""
    name = f"ray::ServeReplica:esm2:{DEMO_SLUG}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            of_it = (path / "cmdline").read_bytes().startswith(name)
            if of_it and parent(parent(path.name)) == str(os.getpid()):
                found.append(int(path.name))
    return found


def parent(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"port": 80}, "port is not for Ray Serve"),
        ({"modle": "x"}, "modle is not for Ray Serve"),
        ({"model": [DEMO_SLUG]}, "there are no tokens"),
        ({"model": [DEMO_SLUG] * 2, "host": "127.0.0.1"}, "named twice"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(fleet, args, sentence):
    from esm2.fleet import app

    with pytest.raises(SettingsError, match=sentence):
        app(args)


def test_a_killed_replica_loses_no_request_and_every_answer_is_that_of_one_server(fleet, expected):
    until(lambda: len(replicas()) == 2, "there are not two")
    with ThreadPoolExecutor(8) as callers:
        answers = [callers.submit(fleet.post, LONG) for _ in range(16)]
        answers[0].result()
        os.kill(replicas()[0], signal.SIGKILL)
        got = [answer.result() for answer in answers]
    assert {status for status, _, _ in got} == {200}
    assert {body for _, body, _ in got} == {expected}
    until(lambda: len(replicas()) == 2, "it is not replaced")


def test_one_bad_sequence_is_refused_as_by_one_server(fleet):
    status, body, _ = fleet.post({"items": [{"sequence": "MKT1"}]})
    assert status == 400
    assert json.loads(body)["code"] == "request.invalid_sequence"


def test_more_than_may_wait_is_refused_with_a_time_to_come_back(fleet, expected):
    with ThreadPoolExecutor(CALLERS) as callers:
        got = [own.result() for own in [callers.submit(fleet.post, LONG) for _ in range(CALLERS)]]
    assert {status for status, _, _ in got} == {200, 429}
    assert {body for status, body, _ in got if status == 200} == {expected}
    assert all(int(headers["retry-after"]) >= 1 for status, _, headers in got if status == 429)


def test_scaling_down_finishes_what_was_begun(fleet, expected):
    until(fleet.healthy, "it does not recover")
    with ThreadPoolExecutor(6) as callers:
        answers = [callers.submit(fleet.post, LONG) for _ in range(12)]
        answers[0].result()
        fleet.scale(1)
        got = [answer.result() for answer in answers]
        until(lambda: len(replicas()) == 1, "it does not scale down")
        got.append(fleet.post(LONG))
    assert {(status, body) for status, body, _ in got} == {(200, expected)}
