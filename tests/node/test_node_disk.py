"""The node's own program on a disk that fills up or turns read-only: named, and nothing acknowledged is lost."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node_api import Api, RunningApi

pytestmark = pytest.mark.root

PATH = "/api/v1/namespaces/default/configmaps"
SIZE = 24 << 20
BULK = "x" * 500_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB for a node's state."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    folder.mkdir()
    _run("mkfs.ext4", "-q", "-F", str(image))
    _mount(image, folder)
    try:
        yield folder
    finally:
        _run("umount", str(folder))


@pytest.mark.parametrize("disaster", ["full", "read-only"])
async def test_a_disk_that_takes_no_more_is_named_and_nothing_acknowledged_is_lost(small: Path, disaster: str) -> None:
    running = RunningApi(small)
    running.start()
    try:
        async with running.session() as session:
            api = Api(running, session)
            acknowledged = [(await api.create(PATH, _object("first")))["metadata"]["name"]]
            if disaster == "full":
                refused = await _fill(api, acknowledged)
            else:
                _break(small)
                refused = await api.ask("POST", PATH, _object("refused"))
            code, status = refused
            assert code == 500, status
            assert status["kind"] == "Status" and status["status"] == "Failure"
            assert any(word in status["message"] for word in ("disk is full", "readonly", "disk I/O", "read-only")), (
                status
            )
            # What it has it still answers with.
            listed = {item["metadata"]["name"] for item in (await api.get(PATH))["items"]}
            assert set(acknowledged) <= listed
            assert status["details"].get("name") not in listed
            if disaster == "full":
                assert (await api.ask("DELETE", f"{PATH}/{acknowledged.pop(0)}"))[0] in {200, 500}
    finally:
        running.stop(signal.SIGKILL)
    if disaster == "read-only":
        _repair(small)
    else:
        (small / "filler").unlink()
    running.start()
    try:
        async with running.session() as session:
            api = Api(running, session)
            listed = {item["metadata"]["name"] for item in (await api.get(PATH))["items"]}
            assert set(acknowledged) <= listed
            assert (await api.create(PATH, _object("afterwards")))["metadata"]["name"] == "afterwards"
    finally:
        running.stop()


async def _fill(api: Api, acknowledged: list[str]) -> tuple[int, dict[str, Any]]:
    """Somebody else's file takes nearly all; then objects until one is refused."""
    with (api.running.root / "filler").open("wb") as filler:
        filler.write(b"\0" * (8 << 20))
    for number in range(100):
        code, answer = await api.ask("POST", PATH, _object(f"bulk-{number}", BULK))
        if code != 201:
            return code, answer
        acknowledged.append(f"bulk-{number}")
    raise AssertionError("the disk was never full")


def _repair(folder: Path) -> None:
    """As after a restart of the machine: the journal is replayed, and the file system is mounted anew."""
    image = folder.parent / "disk.img"
    _run("umount", str(folder))
    subprocess.run(["fsck.ext4", "-y", str(image)], capture_output=True, timeout=60, check=False)
    _mount(image, folder)


def _break(folder: Path) -> None:
    """What the kernel does after an error on the disk: the file system is read-only from now on."""
    found = subprocess.run(
        ["findmnt", "-no", "SOURCE", str(folder)], capture_output=True, text=True, timeout=20, check=True
    )
    Path("/sys/fs/ext4", Path(found.stdout.strip()).name, "trigger_fs_error").write_text("a disk of the tests' own")
    with pytest.raises(OSError, match="Read-only"):
        (folder / "refused").touch()


def _mount(image: Path, folder: Path) -> None:
    _run("mount", "-o", "loop,errors=remount-ro", str(image), str(folder))


def _object(name: str, content: str = "") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"content": content}}


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, capture_output=True, timeout=60, check=check)
