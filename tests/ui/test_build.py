"""What is in the package is what its source gives, and a wheel has it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.ui.screen import Screen
from tests.wire.server import serving

ROOT = Path(__file__).parents[2]
UI = ROOT / "ui"
BUILT = ROOT / "src/esm2/server/ui"
PATIENCE = 300


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_built_page_is_what_its_source_gives(tmp_path):
    programs = UI / "node_modules/.bin"
    if not (programs / "vite").exists():
        pytest.skip("what the page is built of is not installed: npm ci --prefix ui")
    run(programs / "tsc", "--noEmit", cwd=UI)
    run(programs / "vite", "build", "--outDir", tmp_path / "built", "--emptyOutDir", cwd=UI)
    fresh, kept = files(tmp_path / "built"), files(BUILT)
    assert fresh.keys() == kept.keys()
    stale = [name for name in fresh if fresh[name] != kept[name]]
    assert stale == [], "run `make page` and commit what it builds"


def test_the_page_opens_from_a_built_wheel(browser, tmp_path, monkeypatch):
    source = tmp_path / "source"  # a copy: building replaces the native library that others load
    shutil.copytree(ROOT / "src", source / "src")
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    monkeypatch.setenv("CXX", "no-compiler")  # the page needs none, and it would take long
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    run(*command, cwd=source)
    [wheel] = tmp_path.glob("*.whl")
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(place)
    assert files(place / "esm2/server/ui") == files(BUILT)
    monkeypatch.setenv("PYTHONPATH", str(place))
    found = run(sys.executable, "-c", "import esm2; print(esm2.__file__)")
    assert found.startswith(str(place))
    with serving() as server:
        screen = Screen(browser, server)
        screen.look("MKTAYIAKQR")
        assert screen.page.locator("#contacts").is_visible()
        assert screen.complaints == []
        screen.close()
