"""The root of the tree."""

from __future__ import annotations

import copy
from typing import Any, Self


class Esm2Error(Exception):
    """Base of every error that this package raises on purpose."""

    code: str = "error"

    @classmethod
    def retold(cls, message: str) -> Self:
        """An error of this class that another process raised.

        It has the sentence and the code; the other attributes stayed with that process.
        """
        return cls.__new__(cls, message)

    def again(self) -> Self:
        """The same error as an object of its own: raising an object changes it."""
        other = copy.copy(self)
        other.__cause__ = self.__cause__
        return other.with_traceback(self.__traceback__)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with its sentence and attributes, whatever its constructor takes."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[Esm2Error], args: tuple[Any, ...], attributes: dict[str, Any]) -> Esm2Error:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error
