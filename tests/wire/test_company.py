"""A request is answered byte for byte the same, whoever else is answered at the same time."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.near import company
from tests.wire.server import Server

KINDS = ["mean", "per_token", "bos", "contacts", "logits", "attentions"]
PROTEIN = "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSYRKQVVIDGETCLLDILDTAGQ"
ASKED = {
    "encode": {
        "items": [{"sequence": PROTEIN}, {"sequence": "M"}, {"sequence": PROTEIN[::-1]}],
        "params": {"include": KINDS, "repr_layers": [0, 1, -1]},
    },
    "predict": {"items": [{"sequence": "MK<mask>" + PROTEIN[:30]}, {"sequence": "<mask>"}]},
}
#: One with a native kernel, one whose dimension is none of a native kernel's.
SLUGS = ("esm2-8m", "my-slug")


def ask(server: Server, slug: str, action: str, body: object) -> bytes:
    answer = server.post(f"/api/v2/{slug}/{action}/", body)
    assert answer.status == 200, answer.body[:300]
    return answer.body


@contextmanager
def hammered(server: Server, slug: str, clients: int = 6) -> Iterator[None]:
    """Others ask all the while, for anything."""
    ended = threading.Event()
    failures: list[str] = []

    def hammer(seed: int) -> None:
        source = random.Random(seed)
        while not ended.is_set():
            sequence = "".join(source.choices("LAGVSERTIDPKQNFYMHWC", k=source.randint(1, 150)))
            include = source.sample(KINDS, source.randint(1, 3))
            body = {"items": [{"sequence": sequence}], "params": {"include": include}}
            answer = server.post(f"/api/v2/{slug}/encode/", body)
            if answer.status != 200:
                failures.append(json.dumps(answer.json()))

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.skipif(company().largest > 0, reason="no kernel here promises bits")
@pytest.mark.parametrize("slug", SLUGS)
def test_others_who_ask_at_the_same_time_do_not_change_one_byte(server: Server, slug: str) -> None:
    [model] = [own for own in server.get("/info").json()["models"] if own["slug"] == slug]
    assert model["batch_invariant"] is True
    quiet = {action: ask(server, slug, action, body) for action, body in ASKED.items()}
    with hammered(server, slug):
        for _ in range(8):
            for action, body in ASKED.items():
                assert ask(server, slug, action, body) == quiet[action]
