"""Ids that occur more than once, in memory that hardly grows with the records: 8 bytes for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from esm2.files.run import Entry, Kept

Named = Callable[[Entry], str]
_ID: Named = attrgetter("id")


def duplicates(kept: Kept, named: Named = _ID) -> dict[str, int]:
    """Names of more than one record, in order of first appearance, with their numbers."""
    digests = _digests(kept, named)
    # Enough to know which names to look at.
    values, counts = np.unique(digests, return_counts=True)
    repeated = np.isin(digests, values[counts > 1])
    if not repeated.any():
        return {}
    names = Counter(
        named(entry) for entry, again in zip(kept.entries(), repeated, strict=True) if again
    )
    return {name: count for name, count in names.items() if count > 1}


def unique(kept: Kept, named: Named = _ID) -> Iterator[str]:
    """The names of all records in order; one that was there before with #2, #3, ... behind it.

    A name that a record has of its own is given to no other.
    """
    repeated = duplicates(kept, named)
    own = np.sort(_digests(kept, named)) if repeated else np.empty(0, np.uint64)
    numbers: dict[str, int] = {}  # the last one given
    for name in map(named, kept.entries()):
        if name not in repeated:
            yield name
        elif name not in numbers:
            numbers[name] = 1
            yield name
        else:
            numbers[name] += 1
            while _is_in(own, f"{name}#{numbers[name]}"):
                numbers[name] += 1
            yield f"{name}#{numbers[name]}"


def _digests(kept: Kept, named: Named) -> NDArray[np.uint64]:
    return np.fromiter((_digest(named(e)) for e in kept.entries()), np.uint64, count=kept.count)


def _digest(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little"))


def _is_in(digests: NDArray[np.uint64], name: str) -> bool:
    digest = _digest(name)
    place = int(np.searchsorted(digests, digest))
    return place < len(digests) and bool(digests[place] == digest)
