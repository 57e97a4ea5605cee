"""Make the environments of the clients that judge the server (tests/clients).

python tools/clients.py     .clients/X/ for each tests/clients/constraints/X.txt, and R with
                            RCurl where Debian's apt may install it

What is there already is kept. What cannot be made is said in one line, kept as .clients/NAME.txt,
and the tests that need it are skipped with that line; the exit status is 0.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "tests/clients/constraints"
PLACE = ROOT / ".clients"
R_PACKAGES = ("r-base-core", "r-cran-rcurl")
#: Seconds for one command; without a network, pip and apt give up long before.
PATIENCE = 240


class Failed(Exception):
    """A command did not do what it should; the message is one line."""


def run(*command: str | Path) -> None:
    """Run a command silently.

    Raises:
        Failed: with the last line of what it said.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from error
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
        raise Failed(f"{Path(command[0]).name}: {said[-1]}")


def make_environment(constraints: Path) -> None:
    """A virtual environment with exactly what the file lists, wheels only."""
    place = PLACE / constraints.stem
    stamp = place / "installed.txt"
    if stamp.exists() and stamp.read_text() == constraints.read_text():
        return
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", place)
    pip = (sys.executable, "-m", "pip", "--python", place / "bin/python")
    flags = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
    run(*pip, "install", *flags, "-r", constraints)
    shutil.copyfile(constraints, stamp)


def make_r(_: Path) -> None:
    """R with RCurl from Debian's packages."""
    if shutil.which("Rscript"):
        return
    if not shutil.which("apt-get"):
        raise Failed("R is not installed, and this is not Debian")
    if os.geteuid() != 0:
        raise Failed(f"R is not installed: sudo apt-get install {' '.join(R_PACKAGES)}")
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-qq", "--no-install-recommends", *R_PACKAGES)


def main() -> int:
    PLACE.mkdir(exist_ok=True)
    work = [(Path("R.txt"), make_r)]  # first: it takes longest
    work += [(constraints, make_environment) for constraints in sorted(CONSTRAINTS.glob("*.txt"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = [(file, pool.submit(make, file)) for file, make in work]
    for file, future in made:
        reason = PLACE / file.name
        error = future.exception()
        if error is None:
            reason.unlink(missing_ok=True)
        elif isinstance(error, Failed):
            print(f"{file.stem} cannot be made, its tests will be skipped: {error}")
            reason.write_text(f"{error}\n")
        else:
            raise error
    return 0


if __name__ == "__main__":
    sys.exit(main())
