"""The listing that `purge` is judged by sees a leak of each kind: one is planted, seen, and taken away."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e import listing
from tests.e2e.listing import CGROUPS, remaining

pytestmark = pytest.mark.root

NODE = "leaky"
VETH = "bo" + hashlib.sha256(NODE.encode()).hexdigest()[:4] + "x"
TABLE = ("ip", f"binderops-{NODE}")


@contextlib.contextmanager
def commands(made: str, removed: str) -> Iterator[None]:
    run(*made.split())
    try:
        yield
    finally:
        run(*removed.split())


@contextlib.contextmanager
def process(folder: Path) -> Iterator[None]:
    program = subprocess.Popen(["tail", "-f", "/dev/null", "--pid=1", f"{folder}/none"], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        program.kill()
        program.wait(10)


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        folder.rmdir()
        if folder.parent.name == "binderops":
            with contextlib.suppress(OSError):  # other nodes' are in it
                folder.parent.rmdir()


def leak(kind: str, folder: Path, patch: pytest.MonkeyPatch) -> contextlib.AbstractContextManager[None]:
    match kind:
        case "process":
            return process(folder)
        case "namespace":
            return commands(f"ip netns add bo-{NODE}-1", f"ip netns delete bo-{NODE}-1")
        case "link":
            return commands(f"ip link add bo-{NODE} type veth peer name bo-{NODE}x", f"ip link delete bo-{NODE}")
        case "veth":
            return commands(f"ip link add {VETH} type veth peer name {VETH}y", f"ip link delete {VETH}")
        case "table":
            return commands(f"nft add table {' '.join(TABLE)}", f"nft delete table {' '.join(TABLE)}")
        case "mount":
            return commands(f"mount -t tmpfs leak {folder}", f"umount {folder}")
        case "cgroup":
            top = next(path for path in CGROUPS.glob("*") if (path / "cgroup.procs").exists() and path.is_dir())
            return made_folder(top / "binderops" / NODE)
        case "unit":
            patch.setattr(listing, "UNITS", folder.parent / "units")
            return made_folder(folder.parent / "units" / f"binderops-{NODE}.service")
        case _:
            return made_folder(folder / "file")


@pytest.fixture
def machine() -> Iterator[Path]:
    """A folder whose name does not say pytest: the listing leaves out the test's own processes by that word."""
    with tempfile.TemporaryDirectory(prefix="leaky-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", ["process", "namespace", "link", "veth", "table", "mount", "cgroup", "unit", "file"])
def test_a_leak_of_each_kind_is_seen(machine: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = machine / "state"
    folder.mkdir()
    before = remaining(NODE, (folder,))
    assert before == {str(folder)}
    with leak(kind, folder, monkeypatch):
        assert remaining(NODE, (folder,)) > before
    assert remaining(NODE, (folder,)) == before


def test_a_rule_in_anothers_table_is_seen(tmp_path: Path) -> None:
    """As in Docker's chain: a table of the test's own stands for it."""
    table = "inet leaky-tests"
    with commands(f"nft add table {table}", f"nft delete table {table}"):
        run("nft", f"add chain {table} c")
        run("nft", f'add rule {table} c accept comment "binderops-{NODE}"')
        assert any(line.startswith("rule ") for line in remaining(NODE, (tmp_path / "none",)))


def run(*command: str) -> None:
    subprocess.run(command, capture_output=True, timeout=20, check=True)
