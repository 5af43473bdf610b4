"""Logs stay within bytes: programs' logs begin anew, those of gone pods go, and of the others the oldest that ended."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.disks import fill_but, small_disk

from binderops.node.pods import logkeeping, usage
from binderops.node.pods.logkeeping import LogKeeper, begin_anew

KILOBYTE = 1024


def kit(state: Path) -> Any:
    (state / "logs").mkdir()
    return SimpleNamespace(
        config=SimpleNamespace(state=state),
        log_folder=lambda pod: state / "logs" / f"default_{pod['metadata']['name']}_{pod['metadata']['uid']}",
    )


def attempt(state: Path, pod: str, number: int, *, hours_ago: float, kilobytes: int = 400) -> Path:
    path = state / "logs" / f"default_{pod}_uid-{pod}" / "main" / f"{number}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(kilobytes * KILOBYTE))
    moment = path.stat().st_mtime - hours_ago * 3600
    os.utime(path, (moment, moment))
    return path


def worker(pod: str, *, attempt: int, state: str = "running") -> Any:
    view = SimpleNamespace(record=SimpleNamespace(state=state, attempt=attempt))
    return SimpleNamespace(
        pod={"metadata": {"name": pod, "uid": f"uid-{pod}"}}, units={"main": SimpleNamespace(view=view)}
    )


async def test_of_all_logs_the_oldest_that_ended_goes_first(tmp_path: Path) -> None:
    tools = kit(tmp_path)
    oldest = attempt(tmp_path, "runs", 1, hours_ago=9)
    earlier = attempt(tmp_path, "runs", 0, hours_ago=8)
    finished = attempt(tmp_path, "finished", 0, hours_ago=7)
    crashed = attempt(tmp_path, "crashed", 0, hours_ago=6)
    workers = [worker("runs", attempt=1), worker("finished", attempt=0, state="exited")]
    known = {"uid-runs", "uid-finished", "uid-crashed"}
    keeper = LogKeeper(tools, lambda: workers, lambda: known, pods_bytes=2000 * KILOBYTE)
    await keeper.look()
    assert all(path.exists() for path in (oldest, earlier, finished, crashed)), "within the budget"
    keeper = LogKeeper(tools, lambda: workers, lambda: known, pods_bytes=1000 * KILOBYTE)
    await keeper.look()
    assert [path.exists() for path in (oldest, earlier, finished, crashed)] == [True, False, False, True]
    keeper = LogKeeper(tools, lambda: workers, lambda: known, pods_bytes=1)
    await keeper.look()
    assert oldest.exists(), "a container writes it"


async def test_logs_of_a_pod_that_nobody_knows_go(tmp_path: Path) -> None:
    """Its node was killed after the API had forgotten the pod, and before it had removed the logs."""
    tools = kit(tmp_path)
    gone, kept = attempt(tmp_path, "gone", 0, hours_ago=0), attempt(tmp_path, "kept", 0, hours_ago=0)
    await LogKeeper(tools, list, lambda: {"uid-kept"}).look()
    assert not gone.parents[1].exists()
    assert kept.exists()


async def test_a_programs_log_begins_anew_and_the_one_before_stays(tmp_path: Path) -> None:
    tools = kit(tmp_path)
    path = tmp_path / "logs" / "node.log"
    with path.open("ab", buffering=0) as writer:  # as the program has it open
        writer.write(b"first\n" * 200)
        await LogKeeper(tools, list, set, program_bytes=1000).look()
        writer.write(b"second\n" * 200)
    assert path.read_bytes() == b"second\n" * 200
    assert path.with_name("node.log.1").read_bytes() == b"first\n" * 200
    assert path.with_name("node.log.1").stat().st_mode & 0o777 == 0o600
    await LogKeeper(tools, list, set, program_bytes=1000).look()
    assert path.read_bytes() == b""
    assert path.with_name("node.log.1").read_bytes() == b"second\n" * 200
    assert sorted(each.name for each in path.parent.iterdir()) == ["node.log", "node.log.1"]
    engine = tmp_path / "podman" / "podman.log"
    engine.parent.mkdir()
    engine.write_bytes(b"x" * 1001)
    await LogKeeper(tools, list, set, program_bytes=1000).look()
    assert engine.stat().st_size == 0


@pytest.mark.root
@pytest.mark.parametrize(
    ("room", "kept"), [(64 * KILOBYTE, b"before"), (1200 * KILOBYTE, None), (4800 * KILOBYTE, b"x")]
)
def test_a_log_that_fills_the_disk_is_cut_where_it_is(tmp_path: Path, room: int, kept: bytes | None) -> None:
    """What was kept before goes first; the log itself, where there is no room for two of it then either."""
    with small_disk(tmp_path, 16 << 20) as disk:
        path, before = disk / "node.log", disk / "node.log.1"
        path.write_bytes(b"x" * 1000 * KILOBYTE)
        if kept == b"before":
            before.write_bytes(b"before" * 400 * KILOBYTE)
        fill_but(disk / "filler", room)
        free = usage.room_of(disk).free
        assert begin_anew(path) is (kept is not None)
        assert path.stat().st_size == 0
        assert not before.exists() if kept is None else before.read_bytes() == b"x" * 1000 * KILOBYTE
        assert usage.room_of(disk).free >= free, "it took no room"
        assert not path.with_name("node.log.new").exists()


@pytest.mark.root
def test_a_disk_that_fills_up_under_the_copy_is_left_without_it(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    log.write_bytes(b"x" * 1000 * KILOBYTE)
    with small_disk(tmp_path, 16 << 20) as disk:
        fill_but(disk / "filler", 500 * KILOBYTE)
        assert logkeeping._copy(log, disk / "node.log.new") is False
        assert not (disk / "node.log.new").exists()


async def test_a_program_log_that_cannot_be_kept_small_keeps_no_dead_pods_log(tmp_path: Path) -> None:
    tools = kit(tmp_path)
    gone = attempt(tmp_path, "gone", 0, hours_ago=0)
    (tmp_path / "podman" / "podman.log.1").mkdir(parents=True)  # it cannot be replaced by a file
    (tmp_path / "podman" / "podman.log").write_bytes(b"x" * 2000)
    with pytest.raises(OSError, match="directory"):
        await LogKeeper(tools, list, set, program_bytes=1000).look()
    assert not gone.parents[1].exists()


async def test_before_its_pods_are_adopted_no_log_that_may_be_written_goes(tmp_path: Path) -> None:
    tools = kit(tmp_path)
    kept, gone = attempt(tmp_path, "kept", 0, hours_ago=0), attempt(tmp_path, "gone", 0, hours_ago=0)
    adopted = False
    keeper = LogKeeper(tools, list, lambda: {"uid-kept"}, adopted=lambda: adopted, pods_bytes=1)
    await keeper.look()
    assert (kept.exists(), gone.exists()) == (True, False)
    adopted = True
    await keeper.look()
    assert not kept.exists()


@pytest.mark.podman
@pytest.mark.root
async def test_on_a_real_node_a_pods_logs_stay_while_it_is_known(node: Any, make: Any, wait_for: Any) -> None:
    await make("says-it", "echo hello; sleep 1000")
    found = await wait_for("says-it", lambda pod: pod["status"].get("phase") == "Running")
    folder = node.config.state / "logs" / f"default_says-it_{found['metadata']['uid']}"
    stranger = node.config.state / "logs" / "default_gone_00000000-0000-0000-0000-000000000000" / "main"
    stranger.mkdir(parents=True)
    (stranger / "0.log").write_text("x")
    node.end()
    node.start()
    node.wait_for(lambda: not stranger.parent.exists(), "the logs of a pod that is gone to go")
    assert (folder / "main" / "0.log").exists()
