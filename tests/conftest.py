"""What tests of many rooms share: random checkpoints, written once a session, and their engines."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # torch and fair-esm are imported by the tests that use them
    from esm.model.esm2 import ESM2

    from esm2.engine.engine import Engine

_SEED = 7
_ON_RAY = {
    "tests/cli/test_embed_ray.py",
    *(
        f"tests/faults/test_{name}.py"
        for name in ("cluster", "fleet", "serving_on_ray", "worker", "worker_shared")
    ),
}

# A shell that runs the suite in the background makes it ignore Ctrl-C, nohup the end of a session,
# and so would every program that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`pytest -n`: a file's tests stay together, and those that share something dear.

    The clients' fill one table; those of Ray share a cluster.
    """
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            clients = "tests/clients/"
            return clients if file.startswith(clients) else "ray" if file in _ON_RAY else file

    return Together(config, log)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster of two nodes on this machine, of a CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    from tests.clusters import two_nodes

    with two_nodes() as address:
        yield address


@dataclass(frozen=True)
class Reference:
    """A random checkpoint three times: in fair-esm, on disk (Hugging Face), and in our engine."""

    model: ESM2
    directory: Path
    engine: Engine


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reference]:
    """The reference of a shape: "tiny", "odd", "8m" or "35m". Not to be changed by a test."""
    from esm2.engine.engine import Engine
    from tests.checkpoints import SHAPES, random_fair_esm, save_hf

    @functools.cache
    def make(shape: str) -> Reference:
        model = random_fair_esm(*SHAPES[shape], seed=_SEED)
        directory = save_hf(model, tmp_path_factory.mktemp("checkpoint") / shape)
        return Reference(model, directory, Engine.load(directory, f"random-{shape}", device="cpu"))

    return make
