"""Control groups of pods and of the node, on trees like the kernel's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from binderops.node.pods import cgroups
from binderops.node.pods.resources import pod_shares
from binderops.podman.machine import CGROUP_ROOT


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    for name in ("cpu", "pids", "memory"):
        (tmp_path / name).mkdir()
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").touch()
    return tmp_path


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").touch()
    group = tmp_path / "binderops" / "n" / "uid"
    group.mkdir(parents=True)
    for folder in (group, group.parent):
        for file in ("pids.max", "cpu.weight"):
            (folder / file).touch()
    return tmp_path


def test_a_pod_and_its_node_are_limited(hybrid: Path) -> None:
    cgroups.limit_node("n", root=hybrid, most=100)
    cgroups.limit_pod("n", "uid", shares=51, pids=40, root=hybrid)
    assert (hybrid / "pids/binderops/n/pids.max").read_text() == "100"
    assert (hybrid / "pids/binderops/n/uid/pids.max").read_text() == "40"
    assert (hybrid / "cpu/binderops/n/uid/cpu.shares").read_text() == "51"
    assert not (hybrid / "memory/binderops").exists()


@pytest.mark.parametrize("tree", ["hybrid", "unified"])
def test_forks_that_were_refused_are_summed(tree: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(tree)
    pod = root / ("pids" if tree == "hybrid" else "") / "binderops/n/uid"
    for place, text in {"": "max 3\n", "libpod-a": "max 40\n", "libpod-b": "", "conmon": "other 7\n"}.items():
        (pod / place).mkdir(parents=True, exist_ok=True)
        (pod / place / "pids.events").write_text(text)
    assert cgroups.refused_forks("n", "uid", root=root) == 43
    assert cgroups.refused_forks("n", "another", root=root) == 0


def test_groups_that_were_left_are_found_in_every_hierarchy(hybrid: Path) -> None:
    assert cgroups.left("n", root=hybrid) == set()
    (hybrid / "memory/binderops/n/one/conmon").mkdir(parents=True)
    (hybrid / "cpu/binderops/n/two").mkdir(parents=True)
    (hybrid / "cpu/binderops/other/three").mkdir(parents=True)
    assert cgroups.left("n", root=hybrid) == {"one", "two"}


@pytest.mark.podman
@pytest.mark.root
async def test_a_group_that_no_pod_owns_is_removed(node: Any) -> None:
    """As a monitor leaves it that made its group once more after its pod's were removed."""

    def tops() -> list[Path]:
        return [path for path in cgroups._tops(CGROUP_ROOT) if (path / "binderops" / node.name).is_dir()]

    node.wait_for(lambda: bool(tops()), "control group of the node")
    made = [top / "binderops" / node.name / "00000000-0000-0000-0000-000000000000" / "conmon" for top in tops()]
    for folder in made:
        folder.mkdir(parents=True)
    node.end()
    node.start()
    node.wait_for(lambda: not any(folder.parent.exists() for folder in made), "the groups to be removed")


def test_version_two_has_weights(unified: Path) -> None:
    cgroups.limit_node("n", root=unified, most=100)
    cgroups.limit_pod("n", "uid", shares=1024, pids=40, root=unified)
    assert (unified / "binderops/n/pids.max").read_text() == "100"
    assert (unified / "binderops/n/uid/pids.max").read_text() == "40"
    assert (unified / "binderops/n/uid/cpu.weight").read_text() == "39"
    assert (unified / "binderops/n/cgroup.subtree_control").read_text() == "+cpu"


@pytest.mark.parametrize(("shares", "weight"), [(0, 1), (2, 1), (262144, 10000), (1 << 30, 10000)])
def test_weights_stay_in_their_range(shares: int, weight: int) -> None:
    assert cgroups._weight(shares) == weight


def test_a_quarter_of_the_machines_process_ids_is_not_the_pods(hybrid: Path) -> None:
    cgroups.limit_node("n", root=hybrid)
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    assert int((hybrid / "pids/binderops/n/pids.max").read_text()) == most * 3 // 4


@pytest.mark.parametrize(
    ("containers", "init", "shares"),
    [
        (["250m", "1"], [], 256 + 1024),
        ([None], [], 2),
        (["100m"], ["2", "500m"], 2048),
    ],
)
def test_what_a_pod_weighs(containers: list[str | None], init: list[str], shares: int) -> None:
    def made(asked: str | None) -> dict[str, object]:
        return {"resources": {"requests": {"cpu": asked} if asked else {}}}

    pod = {"spec": {"containers": [*map(made, containers)], "initContainers": [*map(made, init)]}}
    assert pod_shares(pod) == shares


def test_processes_of_a_container_in_groups_of_its_own_too(hybrid: Path) -> None:
    group = hybrid / "pids/binderops/n/uid/libpod-abc"
    (group / "inner").mkdir(parents=True)
    (group / "cgroup.procs").write_text("12\n13\n")
    (group / "inner/cgroup.procs").write_text("14\n")
    assert sorted(cgroups.processes("n", "uid", "abc", root=hybrid)) == [12, 13, 14]
    assert cgroups.processes("n", "uid", "gone", root=hybrid) == []
