"""The registry's disk is full while the binder serves: known images launch, what must be stored is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.binder.cluster import Cluster
from tests.binder.conftest import Served
from tests.binder.test_binder_registry_replaced import upload
from tests.binder.test_binder_stream import good_build, phases
from tests.disks import fill, small_disk
from tests.git.git_server import GitServer
from tests.oci.docker_registry import DockerRegistry, RunningRegistry

pytestmark = pytest.mark.root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 24 << 20) as mounted:
        yield mounted


@pytest.fixture
def registry(tmp_path: Path, disk: Path, token_realm: str) -> Iterator[RunningRegistry]:
    """The binder's own registry here, on that disk."""
    (tmp_path / "registry").mkdir()
    server = DockerRegistry.with_tokens(tmp_path / "registry", token_realm, storage=disk / "data")
    try:
        server.start()
        yield server.running
    finally:
        server.stop()


async def test_a_full_disk_is_told_and_goes_on_once_there_is_room(
    served: Served, cluster: Cluster, git_server: GitServer, disk: Path
) -> None:
    git_server.make("known", {"requirements.txt": ""})
    url = git_server.url("known")
    cluster.on_build(url, good_build)
    cluster.on_build("local:hello", good_build)
    known = f"build/git/{quote(url, safe='')}/HEAD"
    assert phases(await served.events(known))[-1] == "ready"
    fill(disk / "others")
    assert phases(await served.events(known)) == ["built", "launching", "ready"], "what is there is launched"
    refused = await upload(served.url)
    assert refused.status_code == 502
    told = refused.json()["message"]
    assert "The registry did not take it: the registry's disk is full" in told and "make room" in told
    (disk / "others").unlink()
    assert (await upload(served.url)).status_code == 201
    assert phases(await served.events("build/local/hello/HEAD"))[-1] == "ready"
