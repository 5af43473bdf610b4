"""What the soak is judged by sees a leak of each kind: planted in the running deployment, seen, and taken away."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import NAME, Deployed
from tests.e2e.listing import CGROUPS, veth_prefix
from tests.e2e.soaking import MIB, NODE, SOCKETS, Day, Hub, compare, engine, measure, nobody_left

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow]

LAUNCHES = 12
LEAK = f"bo-{NAME}-leak"
IMAGE = "localhost/leak:1"
HOLDER = f"""
import sys
files = [open("/dev/null") for _ in range({LAUNCHES})]
memory = bytearray(b"x" * (32 << 20))
print("holds", flush=True)
sys.stdin.read()
"""
PLANTED = {
    *(("processes", "other"), ("open files", "other"), ("memory", "other"), ("disk", "tmp")),
    *(("kernel", "namespaces"), ("kernel", "links"), ("kernel", "mounts"), ("kernel", "cgroups")),
    *(("kernel", "lines of the node's nft table"), ("objects", "secret"), ("objects", "users of the hub")),
    *(("engine", "images"), ("engine", "containers"), ("engine", "volumes")),
}


def test_a_leak_of_each_kind_is_seen(deployed: Deployed, kubectl: Any) -> None:
    day = Day(LAUNCHES, builds=0, is_long=False)
    nobody_left(kubectl)
    before = measure(kubectl)
    with ExitStack() as planted:
        for leak in (_holder(), _kernel(NODE / "tmp"), _engine(), _objects(kubectl)):
            planted.enter_context(leak)
        found = {(row.what, row.name) for row in compare(before, measure(kubectl), day) if not row.is_kept}
    assert found >= PLANTED, f"not seen: {sorted(PLANTED - found)}"


@contextmanager
def _holder() -> Iterator[None]:
    """A process of the deployment's that holds memory, and a file for each launch."""
    command = [sys.executable, "-c", HOLDER, f"{SOCKETS}/leak"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield
    finally:
        process.kill()
        process.communicate(timeout=10)


@contextmanager
def _kernel(folder: Path) -> Iterator[None]:
    table = ("ip", f"binderops-{NAME}")
    group = next(top for top in CGROUPS.glob(f"*/binderops/{NAME}")) / "leak"
    mounted, file = folder / "leak", folder / "leak.data"
    mounted.mkdir()
    group.mkdir()
    file.write_bytes(b"x" * (3 * MIB))
    try:
        _run("ip", "netns", "add", LEAK)
        _run("ip", "link", "add", _veth(), "type", "veth", "peer", "name", "leak0")
        _run("nft", "add", "chain", *table, "leak")
        _run("mount", "-t", "tmpfs", "leak", str(mounted))
        yield
    finally:
        for command in (
            ("umount", str(mounted)),
            ("nft", "delete", "chain", *table, "leak"),
            ("ip", "link", "delete", _veth()),
            ("ip", "netns", "delete", LEAK),
        ):
            with suppress(subprocess.CalledProcessError):
                _run(*command)
        for made in (mounted, group):
            made.rmdir()
        file.unlink()


@contextmanager
def _engine() -> Iterator[None]:
    with engine() as client:
        try:
            _done(client.post("images/import", params={"reference": IMAGE}, content=_archive()))
            _done(client.post("containers/create", json={"image": IMAGE, "name": "leak", "command": ["/leak"]}))
            _done(client.post("volumes/create", json={"Name": "leak"}))
            yield
        finally:
            for path in ("containers/leak", "volumes/leak", f"images/{IMAGE}"):
                client.delete(path, params={"force": "true"})


@contextmanager
def _objects(kubectl: Any) -> Iterator[None]:
    hub = Hub(kubectl)
    kubectl("create", "secret", "generic", "leak", "--from-literal=a=b")
    try:
        hub.add("leak")
        yield
    finally:
        hub.end("leak")
        kubectl("delete", "secret", "leak")


def _veth() -> str:
    """Named as the node names those of its pods."""
    return f"{veth_prefix(NAME)}leak"


def _archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("leak"))
    return content.getvalue()


def _done(answer: httpx.Response) -> None:
    assert answer.is_success, answer.text


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, timeout=30, check=True)
