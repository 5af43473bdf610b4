"""Claims and volumes on the node's own API, with real folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from binderops.kube.kinds import EVENT, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, Object
from binderops.kube.objects import is_deleting, name_of, uid_of
from binderops.node.controllers.machinery import Context, Informers
from binderops.node.controllers.volumes import VolumeController, make_folder, remove_folder

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]


class Settings(NamedTuple):
    state: Path


def pod(namespace: str, name: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "c", "image": "a"}]},
    }


def claim(namespace: str, name: str = "data", **spec: Any) -> Object:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": base | spec,
    }


async def test_a_claim_gets_a_folder_and_gives_it_back(cluster: Any, namespace: str) -> None:
    client = cluster.client
    await client.create(claim(namespace))
    bound = await cluster.until(
        PERSISTENT_VOLUME_CLAIM, "data", namespace, lambda c: c.get("status", {}).get("phase") == "Bound"
    )
    assert bound["spec"]["storageClassName"] == "standard"
    assert bound["status"]["capacity"] == {"storage": "1Gi"}
    volume = await cluster.until(
        PERSISTENT_VOLUME, bound["spec"]["volumeName"], None, lambda v: v.get("status", {}).get("phase") == "Bound"
    )
    folder = cluster.state / "volumes" / f"{namespace}_data_{uid_of(bound)}"
    assert volume["spec"]["hostPath"]["path"] == str(folder)
    (folder / "file").write_text("x")

    user = pod(namespace, "user", {})
    user["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    await client.create(user)
    await cluster.until(POD, "user", namespace, lambda p: p["status"].get("phase") == "Running")
    await client.delete(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    await cluster.until(PERSISTENT_VOLUME_CLAIM, "data", namespace, is_deleting)
    assert (folder / "file").exists(), "a pod uses it"
    await client.delete(POD, "user", namespace)
    await cluster.gone(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    await cluster.gone(PERSISTENT_VOLUME, name_of(volume), None)
    assert not folder.exists()


async def test_a_claim_of_an_unknown_class_waits_and_says_why(cluster: Any, namespace: str) -> None:
    await cluster.client.create(claim(namespace, storageClassName="fast"))
    await cluster.client.create(claim(namespace, "none", storageClassName=""))
    events = await cluster.until_list(
        EVENT, namespace, lambda events: {e["reason"] for e in events} >= {"ProvisioningFailed", "FailedBinding"}
    )
    assert any('"fast" not found' in event["message"] for event in events)
    for name in ("data", "none"):
        waiting = await cluster.client.get(PERSISTENT_VOLUME_CLAIM, name, namespace)
        assert waiting["status"]["phase"] == "Pending"


async def test_a_folder_is_not_removed_on_a_copy_that_is_behind(cluster: Any, namespace: str) -> None:
    await cluster.client.create(claim(namespace))
    bound = await cluster.until(
        PERSISTENT_VOLUME_CLAIM, "data", namespace, lambda c: c.get("status", {}).get("phase") == "Bound"
    )
    volume = await cluster.client.get(PERSISTENT_VOLUME, bound["spec"]["volumeName"])
    context = Context(cluster.client, Settings(cluster.state), Informers(cluster.client))
    reclaimer = VolumeController(context)
    context.informers.observe(volume)  # it knows the volume, but no claim at all
    await reclaimer.sync(("", name_of(volume)))
    assert (cluster.state / "volumes" / f"{namespace}_data_{uid_of(bound)}").exists()
    assert (await cluster.client.get(PERSISTENT_VOLUME, name_of(volume)))["status"]["phase"] == "Bound"


@pytest.mark.parametrize("inside", ["folder", "link"])
async def test_removing_a_folder_does_not_follow_links(tmp_path: Path, inside: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    folder = tmp_path / "volumes" / "x_c_u"
    make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o777
    if inside == "folder":
        (folder / "link").symlink_to(outside)
    else:
        folder.rmdir()
        folder.symlink_to(outside)
    remove_folder(folder)
    assert not folder.exists()
    assert not folder.is_symlink()
    assert (outside / "file").exists()
    remove_folder(folder)
