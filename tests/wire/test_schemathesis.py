"""/openapi.json is true: schemathesis finds no request that is answered otherwise than it says.

It writes bodies that the description allows, which must be answered, and bodies that it forbids,
which must be refused, and holds every answer against the statuses, types, headers and schemas
described.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.wire.refusals import TOKENS
from tests.wire.server import environment

ST = Path(sys.executable).with_name("st")
#: How long it may take on a busy machine before the test fails; 20 s are usual.
PATIENCE = 300
OPERATIONS = 3 + 3 + 2 + 4 * 3  # health, v3, v2, and v1 of each of four models

CONFIG = """
# The limits of layers depend on the model in the address, which JSON Schema cannot say: v2 and v3
# describe those of the deepest model, so that is the one to ask. v1 is described model by model.
[parameters]
slug = "esm2-8m"

# Beyond the usual ones: 413, because a body above the limit is refused before it is looked at.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 413, 415, 422]

# Without these, a server that refuses everything would pass.
[warnings]
display = ["missing_auth", "missing_test_data", "validation_mismatch", "low_valid_rate"]
fail-on = true

[warnings.low_valid_rate]
threshold = 0.9
"""


def test_schemathesis_finds_nothing_that_the_description_does_not_say(guarded, tmp_path):
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    token = TOKENS.partition(",")[0]
    flags = {
        "--header": f"Authorization: Token {token}",
        "--checks": "all",
        "--mode": "all",
        "--phases": "examples,coverage,fuzzing",
        "--max-examples": "15",
        "--suppress-health-check": "too_slow",
    }
    command = [ST, "--config-file", config, "run", f"{guarded.url}/openapi.json"]
    command += ["--generation-deterministic", "--no-color"]
    command += [word for flag in flags.items() for word in flag]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    assert re.search(rf"Tested: {OPERATIONS}\b", run.stdout), run.stdout[-2_000:]
