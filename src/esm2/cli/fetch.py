"""`esm2 fetch`: the weights of a model, downloaded, verified, ready to be served.

Standard output gets the directory and nothing else, for `--model SLUG=$(esm2 fetch SLUG)`;
what was done and what to do next go to standard error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import esm2
from esm2 import hub
from esm2.catalog import DEMO_SLUG, canonical, find
from esm2.cli.options import say


def fetch(
    slug: Annotated[
        str,
        typer.Argument(
            metavar="SLUG",
            help="The model, for example esm2-650m; `esm2 models` lists them. The names"
            " esm2_t33_650M_UR50D, facebook/esm2_t33_650M_UR50D and 650m are the same model.",
        ),
    ],
) -> None:
    """Download the weights of a model and verify them.

    They go to the Hugging Face cache of this machine (HF_HOME), where other programs find them
    too. A download that was cut goes on where it stopped. Files that are there already are
    verified again and not downloaded. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
    """
    name = canonical(slug)
    checkpoint = find(name)
    if checkpoint is None:
        say(f"{DEMO_SLUG} is inside this package: there is nothing to fetch")
        print(Path(esm2.__file__).parent / "demo", flush=True)
    else:
        say(f"{name} is {checkpoint.repo} at revision {checkpoint.revision}")
        print(hub.fetch(checkpoint, say), flush=True)
    say(f"next: esm2 serve --model {name}")
