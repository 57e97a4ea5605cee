"""Weights that are views of a mapped file: giving their memory back once they have been copied.

A page that was read stays resident as long as the file is mapped, so a checkpoint that is copied
into another layout would be there twice. Linux only; elsewhere nothing is given back early.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor


def let_go(tensors: Iterable[Tensor]) -> None:
    """Drop the resident pages of tensors that lie in a mapped file, and do nothing to others.

    The tensors stay what they are: whoever reads them again reads the file again. They must not
    have been written to.
    """
    if sys.platform != "linux":
        return
    files = _file_mappings()
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for tensor in tensors:
        start, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        if any(first <= start and end <= past for first, past in files):
            start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
            end = end // mmap.PAGESIZE * mmap.PAGESIZE
            if start < end:
                madvise(start, end - start, mmap.MADV_DONTNEED)


def _file_mappings() -> list[tuple[int, int]]:
    """The addresses of this process behind which there is a file: [first, past)."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, _, _, inode, *_ = line.split()
        if inode != "0":
            first, past = addresses.split("-")
            found.append((int(first, 16), int(past, 16)))
    return found
