"""Make the environments of the clients that judge the server (tests/clients), and what tests start.

python tools/clients.py     .clients/X/ for each tests/clients/constraints/X.txt; R with RCurl,
                            PostgreSQL, Redis, Chromium, nginx and haproxy where Debian's apt may
                            install them; ui/node_modules, which the page is built of, where there
                            is npm

What is there already is kept. What cannot be made is said in one line, kept as .clients/NAME.txt,
and the tests that need it are skipped with that line; the exit status is 0.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "tests/clients/constraints"
PLACE = ROOT / ".clients"
UI = ROOT / "ui"
#: Name -> (where its program is below /, its packages).
DEBIAN = {
    "R": ("usr/bin/Rscript", ("r-base-core", "r-cran-rcurl")),
    "PostgreSQL": ("usr/lib/postgresql/*/bin/initdb", ("postgresql",)),
    "Redis": ("usr/bin/redis-server", ("redis-server",)),
    "Chromium": ("usr/bin/chromium", ("chromium",)),
    "nginx": ("usr/sbin/nginx", ("nginx-light",)),
    "haproxy": ("usr/sbin/haproxy", ("haproxy",)),
}
#: Seconds for one command; without a network, pip and apt give up long before.
PATIENCE = 240
ONE_APT = threading.Lock()


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


def make_debian(reason: Path) -> None:
    """A program from Debian's packages."""
    program, packages = DEBIAN[reason.stem]
    if any(Path("/").glob(program)):
        return
    if not shutil.which("apt-get"):
        raise Failed(f"/{program} is not there, and this is not Debian")
    if os.geteuid() != 0:
        raise Failed(f"/{program} is not there: sudo apt-get install {' '.join(packages)}")
    with ONE_APT:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-qq", "--no-install-recommends", *packages)


def make_page(_: Path) -> None:
    """What the page is built of, exactly as ui/package-lock.json lists it."""
    npm = shutil.which("npm")
    if npm is None:
        raise Failed("npm is not there: install Node.js 20 or newer")
    stamp, lock = UI / "node_modules/.package-lock.json", UI / "package-lock.json"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    run(npm, "ci", "--prefix", UI, "--no-audit", "--no-fund")


def main() -> int:
    PLACE.mkdir(exist_ok=True)
    work = [(Path(f"{name}.txt"), make_debian) for name in DEBIAN]  # first: it takes longest
    work += [(Path("page.txt"), make_page)]
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
