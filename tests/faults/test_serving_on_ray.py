"""`esm2 serve --ray`: the server that it is anywhere, and what computes is elsewhere."""

from __future__ import annotations

from esm2.catalog import DEMO_SLUG
from tests.wire.server import serving

ENCODE = f"/api/v2/{DEMO_SLUG}/encode/"
BODY = {
    "items": [{"sequence": "MKTAYIAKQR" * 20}, {"sequence": "GG"}],
    "params": {"include": ["mean", "contacts", "logits"]},
}


def test_a_server_whose_models_compute_in_a_cluster_answers_every_byte_of_another(ray_cluster):
    with serving() as here:
        expected = here.post(ENCODE, BODY)
    with serving("--ray", ray_cluster) as server:
        assert server.get("/health/ready").status == 200
        answer = server.post(ENCODE, BODY)
        bad = server.post(ENCODE, {"items": [{"sequence": "MKT1"}]})
        status, stderr = server.stop()
    assert (answer.status, answer.body) == (200, expected.body)
    assert bad.status == 400
    assert status == 0
    assert "Traceback" not in stderr
