"""The root of the tree."""

from __future__ import annotations


class Esm2Error(Exception):
    """Base of every error that this package raises on purpose."""

    code: str = "error"
