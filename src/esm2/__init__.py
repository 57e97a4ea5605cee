"""esm2: exact, fast, self-hosted ESM-2. Not affiliated with Meta or BioLM.

    import esm2
    model = esm2.load("esm2-demo")
    model.embed(["MKTAYIAKQR"])          # float32 (1, D)

Importing this package loads no torch; `load` does.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esm2.local import Model
    from esm2.opening import load

__version__ = version("esm2")
__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from esm2 import opening

        return getattr(opening, name)
    raise AttributeError(f"module 'esm2' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
