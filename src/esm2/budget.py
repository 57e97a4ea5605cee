"""What a request costs: one currency for batching, one memory model for refusing.

Cost is counted in tokens. A token of a pack holds about 10 D numbers at the widest place of a layer
(the feed-forward activation of 4 D, its input, queries, keys, values, residual stream); an
attention map that has to be written out holds H (L + 2)^2. So

    cost = (L + 2) + [contacts, attentions or maps] H (L + 2)^2 / (10 D)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from esm2.catalog import Shape
from esm2.errors import DoesNotFit
from esm2.types import ForwardRequest, Want

#: Numbers of an attention map that the torch path holds at a time; 32 MB of float32.
BLOCK_ELEMENTS = 1 << 23

_NUMBERS_PER_TOKEN = 10  # in units of D
_PEAK_NUMBERS_PER_TOKEN = 26  # in units of D, measured
_FLOAT = 4  # bytes

# Of native/plan.h, attention.h and observe.h.
_NATIVE_BLOCK = 252  # rows
_NATIVE_ATTENTION = 32 + 2 * 64  # numbers for each token of the longest sequence
_NATIVE_CHUNK = 128  # queries, the fewest


def cost(request: ForwardRequest, shape: Shape) -> int:
    """What a request adds to a pack, in tokens."""
    tokens = len(request.tokens)
    if not request.want.needs_attention_weights:
        return tokens
    return tokens + shape.heads * tokens**2 // (_NUMBERS_PER_TOKEN * shape.dim)


def work(request: ForwardRequest, shape: Shape) -> float:
    """What a request takes of the time: floating-point operations of its forward pass.

    Every product of a layer has 12 D^2 weights, attention 2 L D numbers a token, each worth two
    operations; maps that are written out cost about twice their making.
    Source: the usual count, as in Kaplan et al. 2020, arXiv:2001.08361, table 1.
    """
    tokens, dim = len(request.tokens), shape.dim
    attention = 4 * tokens**2 * dim
    if request.want.needs_attention_weights:
        attention *= 3
    return float(request.want.depth(shape.layers) * (24 * dim**2 * tokens + attention) + 1)


def reply_bytes(want: Want, residues: int, shape: Shape) -> int:
    """What the outputs of a request hold, in bytes."""
    layers = len(want.embedded_layers)
    numbers = layers * shape.dim * (want.mean + want.bos + residues * want.per_token)
    numbers += residues * (33 * want.logits + residues * want.contacts)
    numbers += residues * shape.layers * want.attentions
    numbers += residues**2 * len(want.maps)
    return _FLOAT * numbers


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Peak bytes of one sequence, beyond the weights.

    Fitted to err on the high side of what a process takes on the CPU, allocator included:
    benchmarks/memory_model.py has both numbers. On CUDA it has not been measured.

    Attributes:
        threads: of the native library; 0 where torch computes.
    """

    shape: Shape
    threads: int

    def peak(self, want: Want, residues: int) -> int:
        """Bytes that the forward pass and its outputs need at their peak."""
        numbers = (self._native if self.threads else self._torch)(want, residues)
        return _FLOAT * (numbers + len(want.maps) * residues**2)

    def _native(self, want: Want, residues: int) -> int:
        tokens, dim = residues + 2, self.shape.dim
        # Queries, keys, values, context, the residual stream, kept layers; a block of each thread.
        numbers = tokens * dim * (8 + len(want.layers))
        numbers += self.threads * (5 * _NATIVE_BLOCK * dim + _NATIVE_ATTENTION * tokens)
        if want.per_token:
            numbers += tokens * dim * len(want.layers)
        if want.contacts:
            numbers += 4 * residues**2
        if want.needs_attention_weights:
            numbers += (tokens // _NATIVE_CHUNK + 1) * (self.shape.heads + 1) * tokens
        return numbers

    def _torch(self, want: Want, residues: int) -> int:
        tokens = residues + 2
        numbers = tokens * self.shape.dim * (_PEAK_NUMBERS_PER_TOKEN + len(want.layers))
        if want.per_token:
            numbers += tokens * self.shape.dim * len(want.layers)
        if want.needs_attention_weights:
            # Scores, their softmax, the block before it that is not free yet, and copies.
            block = max(BLOCK_ELEMENTS, tokens**2)
            numbers += 5 * min(block, self.shape.heads * tokens**2)
        if want.contacts:
            numbers += 6 * residues**2
        return numbers

    def check(self, want: Want, residues: int, available: int, ceiling: int) -> None:
        """Refuse what does not fit into `available` bytes.

        Raises:
            DoesNotFit: it says how many residues would, at most `ceiling`.
        """
        if self.peak(want, residues) > available:
            raise DoesNotFit(residues, self.longest(want, available, ceiling), want.described)

    def longest(self, want: Want, available: int, ceiling: int) -> int:
        """The most residues of which this fits into `available` bytes, at most `ceiling`."""
        low, high = 0, ceiling
        while low < high:
            middle = (low + high + 1) // 2
            if self.peak(want, middle) <= available:
                low = middle
            else:
                high = middle - 1
        return low


def free_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that is free on this machine now, or that a limit of this process leaves.

    The least of: the machine's, each control group's around this process, `ulimit -v`'s.

    Args:
        proc, groups: where the kernel tells of processes and of control groups (version 2).
    """
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = proc / "meminfo"  # counts reclaimable cache as free, which sysconf does not
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    free = min(free, *(_free_in(group, free) for group in _groups_around(proc, groups)))
    return min(free, _addressable(proc, free))


def granted_cpus(
    otherwise: int, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")
) -> int:
    """How many CPUs' time this process may use: that of the control group that has the least.

    More threads than that are stopped in turn, each while the others wait for it.

    Args:
        otherwise: how many it is if no group has less.
        proc, groups: as for `free_bytes`.
    """
    return min(otherwise, *(_cpus_of(group, otherwise) for group in _groups_around(proc, groups)))


def _groups_around(proc: Path, groups: Path) -> list[Path]:
    """This process's control group and those around it.

    A container is bound by the one that it sees as the root, a unit of systemd by its own, a step
    of Slurm by that of its job.
    """
    own = groups
    member = proc / "self" / "cgroup"
    if member.exists():
        for line in member.read_text().splitlines():
            own = groups / line.removeprefix("0::/") if line.startswith("0::/") else own
    return [group for group in (own, *own.parents) if group.is_relative_to(groups)]


def _addressable(proc: Path, otherwise: int) -> int:
    """What `ulimit -v` leaves of this process's addresses, which torch takes gigabytes of."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return otherwise
    bound, _ = resource.getrlimit(resource.RLIMIT_AS)
    if bound == resource.RLIM_INFINITY:
        return otherwise
    taken = int((proc / "self" / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return max(0, bound - taken)


def _cpus_of(group: Path, otherwise: int) -> int:
    try:
        quota, period = map(int, (group / "cpu.max").read_text().split())
    except (OSError, ValueError):  # no control group, or "max": it has no bound
        return otherwise
    return max(1, -(-quota // period))


def _free_in(group: Path, otherwise: int) -> int:
    try:
        bound = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(counts["inactive_file"])  # cache of files, given back when it is needed
    except (OSError, ValueError, KeyError):  # no control group, or "max": it has no bound
        return otherwise
    return max(0, bound - used)
