"""Pods that cannot be measured in time: what the evictor makes of them, on real folders with a du that is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from binderops.node.pods import evicting, usage
from binderops.node.pods.evicting import Evictor
from binderops.node.pods.kit import Kit
from binderops.node.pods.worker import PodWorker

Measure = Callable[..., Any]


def worker(folder: Path, name: str, *, limit: str | None = "20Mi") -> Any:
    """A pod with one emptyDir, which records why it was evicted."""
    (folder / name / "volumes" / "v").mkdir(parents=True)
    limits = {"limits": {"ephemeral-storage": limit}} if limit else {}
    evicted: list[str] = []
    pod = {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "main", "resources": limits}], "volumes": [{"name": "v", "emptyDir": {}}]},
    }
    return SimpleNamespace(pod=pod, runs=True, units={}, evict=evicted.append, evicted=evicted)


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Any], set[str]], Any]:
    """Looks at these pods once; measuring those that are named takes too long."""
    monkeypatch.setattr(evicting, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(evicting, "LOOK_SECONDS", 0.0)
    real = usage.sizes
    slow: set[str] = set()

    async def sizes(folders: Sequence[Path], *, seconds: float = usage.DU_SECONDS) -> dict[Path, int]:
        return await real(folders, seconds=0 if any(slow & set(path.parts) for path in folders) else seconds)

    monkeypatch.setattr(usage, "sizes", sizes)
    volumes = SimpleNamespace(folder=lambda uid: tmp_path / uid)
    kit = SimpleNamespace(config=SimpleNamespace(state=tmp_path, name="test"), volumes=volumes)
    workers: list[PodWorker] = []
    evictor = Evictor(cast(Kit, kit), lambda: workers)

    async def once(pods: Sequence[Any], taking_long: set[str]) -> None:
        workers[:] = pods
        slow.clear()
        slow.update(taking_long)
        await evictor.look()

    return once


async def test_who_takes_too_long_twice_is_evicted_and_others_are_not(tmp_path: Path, look: Any) -> None:
    hides, honest, free = worker(tmp_path, "hides"), worker(tmp_path, "honest"), worker(tmp_path, "free", limit=None)
    pods = [hides, honest, free]
    await look(pods, {"hides", "free"})
    assert hides.evicted == [], "once may be the machine's fault"
    await look(pods, {"hides", "free"})
    assert "took too long to measure" in hides.evicted[0]
    assert honest.evicted == free.evicted == []


async def test_who_is_measured_in_between_begins_anew(tmp_path: Path, look: Any) -> None:
    pod = worker(tmp_path, "slow")
    for taking_long in ({"slow"}, set[str](), {"slow"}):
        await look([pod], taking_long)
    assert pod.evicted == []
    await look([pod], {"slow"})
    assert len(pod.evicted) == 1


async def test_one_that_takes_long_hides_no_other(tmp_path: Path, look: Any) -> None:
    hides, large = worker(tmp_path, "hides"), worker(tmp_path, "large")
    (tmp_path / "large" / "volumes" / "v" / "f").write_bytes(b"x" * (30 << 20))
    await asyncio.wait_for(look([hides, large], {"hides"}), 20)
    assert "total limit of containers 20Mi" in large.evicted[0]
