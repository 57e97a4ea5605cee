"""schemathesis against a server: bodies that its description allows, and bodies that it forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.wire.server import environment

ST = Path(sys.executable).with_name("st")

CONFIG = """
# The limits of layers depend on the model in the address, which JSON Schema cannot say: v2 and v3
# describe those of the deepest model, so that is the one to ask. v1 is described model by model.
[parameters]
slug = "esm2-8m"

# Beyond the usual ones: 413, because a body above the limit is refused before it is looked at.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 413, 415, 422]

# That a variant has the letter of the sequence at its position, JSON Schema cannot say, so only
# what the description forbids is sent there. test_v3_score.py asks for what is answered.
[[operations]]
include-path = "/api/v3/{slug}/score/"
generation.mode = "negative"

# Without these, a server that refuses everything would pass.
[warnings]
display = ["missing_auth", "missing_test_data", "validation_mismatch", "low_valid_rate"]
fail-on = true

[warnings.low_valid_rate]
threshold = 0.9
"""


def run_schemathesis(
    url: str, place: Path, *, token: str = "", slug: str = "esm2-8m", examples: int, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, the same requests each time.

    Args:
        url: of the server.
        place: an empty directory.
        slug: the deepest model.
        examples: for each operation and each way of making them.
        seconds: it may take.
    """
    config = place / "schemathesis.toml"
    config.write_text(CONFIG.replace('"esm2-8m"', f'"{slug}"'))
    flags = {
        "--checks": "all",
        "--mode": "all",
        "--phases": "examples,coverage,fuzzing",
        "--max-examples": str(examples),
        "--suppress-health-check": "too_slow",
        "--request-timeout": str(seconds),  # 10 s by default: how long the processor may take
    }
    if token:
        flags["--header"] = f"Authorization: Token {token}"
    command = [ST, "--config-file", config, "run", f"{url}/openapi.json"]
    command += ["--generation-deterministic", "--no-color"]
    command += [word for flag in flags.items() for word in flag]
    return subprocess.run(
        command,
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
