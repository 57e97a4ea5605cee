"""What memory there is: of the machine, or of the control group that has the least."""

from __future__ import annotations

import resource

import pytest

from esm2.budget import free_bytes, granted_cpus

MB = 1 << 20
JOB = "system.slice/slurmstepd.scope/job_7"
TASK = f"{JOB}/step_0/user/task_0"


@pytest.fixture
def kernel(tmp_path):
    """Free bytes of a machine of 1000 MB: our group, and group -> (bound, used, cache of files)."""

    def free(own: str, **bounds: tuple[str, int, int]) -> float:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text("MemTotal: 1 kB\nMemAvailable: 1024000 kB\n")
        (tmp_path / "proc/self/cgroup").write_text(f"4:memory:/elsewhere\n0::/{own}\n")
        for group, (bound, used, cached) in bounds.items():
            place = tmp_path / "groups" / group
            place.mkdir(parents=True, exist_ok=True)
            (place / "memory.max").write_text(f"{bound}\n")
            (place / "memory.current").write_text(f"{used * MB}\n")
            (place / "memory.stat").write_text(f"anon 5\ninactive_file {cached * MB}\n")
        return free_bytes(tmp_path / "proc", tmp_path / "groups") / MB

    return free


def test_without_a_bound_it_is_what_the_machine_has(kernel):
    assert kernel("system.slice/esm2.service") == 1000


@pytest.mark.parametrize(
    ("own", "bound"),
    [
        ("", ""),  # a container: what it sees as the root is its own
        ("system.slice/esm2.service", "system.slice/esm2.service"),
        (TASK, JOB),
        ("not/seen/in/this/container", ""),
    ],
)
def test_it_is_what_its_control_group_or_one_around_it_leaves(kernel, own, bound):
    assert kernel(own, **{bound: (str(300 * MB), 120, 20)}) == 200


def test_the_least_of_several_counts_and_one_without_a_bound_does_not(kernel):
    bounds = {JOB: (str(500 * MB), 100, 0), f"{JOB}/step_0": (str(450 * MB), 100, 0)}
    assert kernel(TASK, **bounds, **{TASK: ("max", 100, 0)}) == 350


def test_somebody_elses_group_is_not_ours(kernel):
    assert kernel("a", b=(str(MB), 1, 0)) == 1000


def test_a_group_that_is_full_has_nothing_left(kernel):
    assert kernel("a", a=(str(MB), 2, 0)) == 0


def test_a_bound_on_addresses_counts_too(tmp_path, monkeypatch, kernel):
    def of_addresses(bound: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (bound, bound))

    of_addresses(resource.RLIM_INFINITY)
    assert kernel("a") == 1000
    (tmp_path / "proc/self/statm").write_text(f"{100 * MB // resource.getpagesize()} 1 1\n")
    of_addresses(300 * MB)
    assert free_bytes(tmp_path / "proc", tmp_path / "groups") == 200 * MB
    of_addresses(50 * MB)
    assert free_bytes(tmp_path / "proc", tmp_path / "groups") == 0


@pytest.mark.parametrize(
    ("quotas", "cpus"),
    [
        ({}, 64),
        ({"": "max 100000"}, 64),
        ({"": "200000 100000"}, 2),  # docker run --cpus 2
        ({"": "250000 100000"}, 3),
        ({"": "50000 100000"}, 1),
        ({"": "6400000 50000"}, 64),
        ({JOB: "400000 100000", TASK: "max 100000"}, 4),
        ({JOB: "400000 100000", TASK: "100000 100000"}, 1),
        ({"elsewhere": "100000 100000"}, 64),
    ],
)
def test_threads_are_no_more_than_the_cpus_that_control_groups_grant(tmp_path, quotas, cpus):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(f"0::/{TASK}\n")
    for group, quota in quotas.items():
        (tmp_path / "groups" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / group / "cpu.max").write_text(f"{quota}\n")
    assert granted_cpus(64, tmp_path, tmp_path / "groups") == cpus
