"""/openapi.json is true: schemathesis finds no request that is answered otherwise than it says.

It writes bodies that the description allows, which must be answered, and bodies that it forbids,
which must be refused, and holds every answer against the statuses, types, headers and schemas
described.
"""

from __future__ import annotations

import re

from tests.wire.described import run_schemathesis
from tests.wire.refusals import TOKENS
from tests.wire.server import serving

#: How long it may take on a busy machine before the test fails; 15 s are usual.
PATIENCE = 300
#: Bodies of the greatest lengths are among those it writes, and some ask for a pass a residue.
LIMITS = ("--max-items=3", "--max-residues=60", "--max-body-bytes=4096")
OPERATIONS = 4 + 6 + 2 + 4 * 3  # health and status, v3, v2, and v1 of each of four models


def test_schemathesis_finds_nothing_that_the_description_does_not_say(model_flags, tmp_path):
    token = TOKENS.partition(",")[0]
    with serving(*model_flags, *LIMITS, tokens=TOKENS) as server:
        run = run_schemathesis(server.url, tmp_path, token=token, examples=6, seconds=PATIENCE)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    assert re.search(rf"Tested: {OPERATIONS}\b", run.stdout), run.stdout[-2_000:]
