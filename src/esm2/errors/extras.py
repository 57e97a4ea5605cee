"""What to type when an optional dependency is missing, however esm2 was installed."""

from __future__ import annotations

import re

#: torch for CPUs; PyPI's brings several GB of CUDA.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def install_line(extra: str, alone: str = "") -> str:
    """The pip command for one of our extras, such as "h5": `pip install 'h5py>=3.12'`.

    Args:
        alone: the package of it that is enough, where the others are not needed.
    """
    listed = _requirements(extra)
    wanted = [name for name in listed if _package(name) == alone] or listed
    from_torch = any(name.startswith("torch") for name in wanted)
    index = f" --extra-index-url {CPU_INDEX}" if from_torch else ""
    quoted = " ".join(f"'{name}'" for name in wanted)
    return f"pip install{index} {quoted}"


def _package(requirement: str) -> str:
    """Its name as an import has it; metadata may write "-"."""
    return re.split("[^\\w.-]", requirement, maxsplit=1)[0].replace("-", "_")


def _requirements(extra: str) -> list[str]:
    """What the package's metadata lists under an extra; an extra of ours inside it is followed."""
    from importlib.metadata import PackageNotFoundError, requires  # 15 ms that few runs need

    try:
        listed = requires("esm2") or []
    except PackageNotFoundError:  # the source tree on the path, not installed
        return [f"esm2[{extra}]"]
    own = [line.partition(";")[0].strip() for line in listed if _belongs(line, extra)]
    found: list[str] = []
    for name in own:
        inner = name.removeprefix("esm2[").removesuffix("]")
        found += [name] if inner == name else _requirements(inner)
    return found


def _belongs(line: str, extra: str) -> bool:
    return line.partition(";")[2].replace('"', "'").strip() == f"extra == '{extra}'"
