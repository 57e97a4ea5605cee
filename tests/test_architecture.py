"""The rules of the house, read from the source: who imports whom, who knows what, how large.

    doors          cli  server  client  local  opening  fleet  (__init__, __main__)
    composition    runtime
    application    bulk  loading  service  stream
    batching       batcher  cache
    executors      engine  worker  cluster, and the rooms that stand beside them on the core
    core           types  alphabet  arguments  budget  catalog  errors  science  windows  watch
                   fairqueue  garbage  numerics  hosts  kubernetes  oddities  oneprocess  bar
                   pooling

Arrows point down, and never along a floor: two rooms of one floor do not know each other.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "esm2"

#: Bottom to top. A new room gets its place here.
FLOORS = (
    (
        "core",
        "types alphabet arguments bar budget catalog errors fairqueue garbage hosts kubernetes"
        " numerics oddities oneprocess pooling science watch windows",
    ),
    ("executors", "engine worker cluster files hub settings tokens verify plots"),
    ("batching", "batcher cache"),
    ("application", "bulk loading service stream"),
    ("composition", "runtime"),
    ("doors", "cli server client local opening fleet __init__ __main__"),
)
LEVEL = {room: level for level, (_, rooms) in enumerate(FLOORS) for room in rooms.split()}
CORE = {room for room, level in LEVEL.items() if level == 0}

#: The arrows along a floor that are meant: the command line starts the server and is, with --url,
#: its client, or asks a model in this process as a person's own program does (`esm2.load`, which
#: is `opening`'s, gives a `local.Model`). An actor of a cluster is a worker's child that lives
#: elsewhere; the fleet is the server's app before replicas.
ALONG_A_FLOOR = {
    *(("cli", other) for other in ("server", "client", "opening", "local")),
    *(("__main__", "cli"), ("__init__", "opening"), ("__init__", "local"), ("opening", "local")),
    *(("cluster", "worker"), ("fleet", "server")),
}

#: Who loads the engine, and the command that tells what it could do on this machine.
KNOW_THE_ENGINE = {"loading.py", "runtime.py", "cli/doctor.py"}

#: Where a foreign package may be imported. The core has numpy and, before Python 3.14, zstd.
HOMES = {
    "numpy": set(LEVEL),
    "backports": {"files", "server"},
    "compression": {"files", "server"},
    "_typeshed": {"files", "cli"},
    "torch": {"engine"},
    "safetensors": {"engine"},
    "ray": {"cluster", "fleet"},
    "sqlalchemy": {"tokens"},
    "limits": {"tokens"},
    "redis": {"tokens", "cache"},
    "pydantic": {"settings", "server"},
    "pydantic_core": {"server"},
    "pydantic_settings": {"settings"},
    "fastapi": {"server", "fleet"},
    "fastapi_swagger": {"server"},
    "starlette": {"server", "cli"},
    "prometheus_client": {"server"},
    "orjson": {"files", "server"},
    "h5py": {"files"},
    "pyarrow": {"files"},
    "matplotlib": {"plots"},
    "logomaker": {"plots"},
    "biotite": {"science"},
    "uvicorn": {"cli"},
    "h11": {"cli"},
    "typer": {"cli"},
    "rich": {"cli", "bar"},
    "httpx2": {"client"},
}

#: What neither `import esm2` nor `esm2 --help` may load.
HEAVY = {
    *("torch", "safetensors", "transformers", "huggingface_hub", "ray"),
    *("fastapi", "uvicorn", "httpx2"),
    *("sqlalchemy", "limits", "redis"),
    *("h5py", "pyarrow", "matplotlib", "biotite", "pandas"),
}

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef

CODE = [
    path
    for folder in ("src", "tests", "benchmarks", "tools", "training")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
MODULES = [path for path in CODE if SOURCE in path.parents]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def name(path: Path) -> str:
    """`engine/pack.py` of a module of ours, `tests/oracles.py` of the rest."""
    return path.relative_to(SOURCE if SOURCE in path.parents else ROOT).as_posix()


def room(path: Path) -> str:
    """The room of a module: `engine/pack.py` is in `engine`, `service.py` is `service`."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(place, dotted name) of each import, those inside functions and for types alone included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((f"{name(path)}:{node.lineno}", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                yield f"{name(path)}:{node.lineno}", f"{origin}.{alias.name}"


def rooms_entered(path: Path) -> Iterator[tuple[str, str]]:
    """(place, room) of each import of ours; the name and version of the package are nobody's."""
    for place, imported in imports(path):
        package, _, rest = imported.partition(".")
        if package == "esm2" and rest not in ("", "__version__"):
            first = rest.partition(".")[0]
            yield place, "__init__" if first in ("load", "Model") else first


def test_every_room_has_a_floor():
    assert {room(path) for path in MODULES} - set(LEVEL) == set()


def test_imports_point_down():
    up = []
    for path in MODULES:
        own = room(path)
        for place, entered in rooms_entered(path):
            down = LEVEL[entered] < LEVEL[own]
            within = entered == own or {own, entered} <= CORE
            if not down and not within and (own, entered) not in ALONG_A_FLOOR:
                up.append(f"{place}: {own} imports {entered}")
    assert up == []


@pytest.mark.parametrize("own", ["engine", "client"])
def test_the_engine_and_the_client_stand_on_the_core_alone(own):
    places = [
        f"{place}: {entered}"
        for path in MODULES
        if room(path) == own
        for place, entered in rooms_entered(path)
        if entered not in CORE | {own}
    ]
    assert places == []


def test_only_the_composition_root_and_the_doctor_know_the_engine():
    others = [
        place
        for path in MODULES
        if room(path) != "engine" and name(path) not in KNOW_THE_ENGINE
        for place, entered in rooms_entered(path)
        if entered == "engine"
    ]
    assert others == []


def test_foreign_packages_stay_at_home_torch_in_the_engine_ray_in_the_cluster():
    strays = [
        f"{place}: {imported}"
        for path in MODULES
        for place, imported in imports(path)
        if (package := imported.partition(".")[0]) != "esm2"
        and (package not in sys.stdlib_module_names or package in HOMES)
        and room(path) not in HOMES.get(package, set())
    ]
    assert strays == []


def test_imports_are_absolute():
    assert [p for path in CODE for p, imported in imports(path) if imported.startswith(".")] == []


def test_only_settings_and_the_clients_environment_read_the_environment():
    readers = {
        name(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"))
        or (isinstance(node, ast.alias) and node.name in ("environ", "environb", "getenv"))
        or (isinstance(node, ast.keyword) and node.arg == "envvar")
    }
    assert readers == {"settings.py", "client/environment.py"}


def test_only_the_alphabet_and_the_readout_know_of_bos_and_eos():
    knowing = {
        name(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Name) and node.id in ("BOS", "EOS"))
        or (isinstance(node, ast.Attribute) and node.attr in ("BOS", "EOS"))
        or (isinstance(node, ast.alias) and node.name in ("BOS", "EOS"))
        or (isinstance(node, ast.Constant) and node.value in ("<cls>", "<eos>"))
    }
    assert "alphabet.py" in knowing
    assert knowing <= {"alphabet.py", "engine/readout.py"}


def test_only_the_pack_knows_where_sequences_begin():
    knowing = {
        name(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr == "cu_seqlens")
        or (isinstance(node, ast.Name) and node.id == "cu_seqlens")
    }
    assert knowing == {"engine/pack.py"}


def test_the_api_generations_hold_no_try():
    adapters = [path for path in MODULES if room(path) == "server" and path.stem[1:].isdigit()]
    assert adapters, "where is server/v2.py?"
    holding = [name(p) for p in adapters for node in ast.walk(tree(p)) if isinstance(node, ast.Try)]
    assert holding == []


def test_no_file_is_over_400_lines():
    page = [path for path in (ROOT / "ui/src").iterdir() if path.is_file()]
    sizes = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in [*CODE, *page]}
    lines = {name(path): count for path, count in sizes.items()}
    assert {path: count for path, count in lines.items() if count > 400} == {}


def test_no_function_is_over_50_statements():
    long = [
        f"{name(path)}:{node.lineno} {node.name}, {statements(node)} statements"
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, FUNCTION) and statements(node) > 50
    ]
    assert long == []


def statements(node: ast.AST) -> int:
    """Those of a function's own body: not its docstring, nor those of functions inside it."""
    count = -1 if isinstance(node, FUNCTION) and ast.get_docstring(node) is not None else 0
    for child in ast.iter_child_nodes(node):
        count += isinstance(child, ast.stmt)
        count += 0 if isinstance(child, FUNCTION) else statements(child)
    return count


def test_no_module_has_a_name_that_says_nothing():
    empty = {"util", "common", "helper", "manager", "factory", "factories", "misc"}
    parts = {name(path): path.relative_to(ROOT).with_suffix("").parts for path in CODE}
    bad = [path for path, words in parts.items() if {w.removesuffix("s") for w in words} & empty]
    assert bad == []


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import esm2", id="import esm2"),
        pytest.param(
            "import sys; sys.argv = ['esm2', '--help']\n"
            "from esm2.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert not end.code, end.code",
            id="esm2 --help",
        ),
    ],
)
def test_looking_at_esm2_loads_no_torch(code):
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "esm2" in loaded
    assert loaded & HEAVY == set()
