"""The root of the tree."""

from __future__ import annotations

from typing import Self


class Esm2Error(Exception):
    """Base of every error that this package raises on purpose."""

    code: str = "error"

    @classmethod
    def retold(cls, message: str) -> Self:
        """An error of this class that another process raised.

        It has the sentence and the code; the other attributes stayed with that process.
        """
        return cls.__new__(cls, message)
