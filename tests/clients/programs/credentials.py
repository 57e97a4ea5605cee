"""Whose token a call is made with."""

import os
from contextlib import contextmanager
from pathlib import Path

TOKENS = ("BIOLMAI_TOKEN", "BIOLM_TOKEN")
FILES = (".biolmai/credentials", ".biolm/credentials")


@contextmanager
def using(credentials):
    """The token that the environment has; a wrong one; none; or the file that a login writes."""
    kept = {name: os.environ.pop(name) for name in TOKENS if name in os.environ}
    files = [Path.home() / name for name in FILES]
    if credentials == "good token":
        os.environ.update(kept)
    elif credentials == "wrong token":
        os.environ.update(dict.fromkeys(kept, "wrong-secret"))
    elif credentials == "file":
        for file in files:
            file.parent.mkdir(exist_ok=True)
            [token] = set(kept.values())
            file.write_text(f'{{"access": "{token}", "refresh": "unused"}}')
    try:
        yield
    finally:
        os.environ.update(kept)
        for file in files:
            file.unlink(missing_ok=True)
