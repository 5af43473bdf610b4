"""Volumes of every kind in real pods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.node.pods.conftest import Node, ended, logs_of

from binderops.kube.client import Client
from binderops.kube.kinds import (
    CONFIG_MAP,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    SECRET,
)

pytestmark = [pytest.mark.podman, pytest.mark.root]


async def test_volumes_and_their_updates(client: Client, make: Any, wait_for: Any, node: Node) -> None:
    meta = {"name": "settings", "namespace": "default"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"colour": "red", "deep": "x"}}
    await client.create(config)
    secret_meta = {"name": "hidden", "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": secret_meta, "stringData": {"key": "s3cret"}}
    await client.create(secret)
    volumes = [
        {"name": "config", "configMap": {"name": "settings", "items": [{"key": "colour", "path": "a/colour"}]}},
        {"name": "secret", "secret": {"secretName": "hidden", "defaultMode": 0o400}},
        {"name": "none", "secret": {"secretName": "absent", "optional": True}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "settings"}},
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                ]
            },
        },
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/v/{volume['name']}"} for volume in volumes]
    mounts.append({"name": "all", "mountPath": "/single", "subPath": "colour"})
    script = (
        "cat /v/config/a/colour /v/secret/key /v/down/labels /single; ls -l /v/secret/..data/; ls /v/none; "
        "dd if=/dev/zero of=/v/memory/big bs=1k count=2000 2>/dev/null || echo full; touch /v/config/no || echo ro; "
        "cat /v/all/token | wc -c; while [ $(cat /v/config/a/colour) = red ]; do sleep 0.1; done; echo changed"
    )
    try:
        await make(
            "volumes",
            script,
            metadata={"labels": {"tier": "one"}},
            volumes=volumes,
            restartPolicy="Never",
            container={"volumeMounts": mounts},
        )
        await wait_for("volumes", lambda pod: pod["status"].get("phase") == "Running")
        await client.patch(CONFIG_MAP, "settings", "default", {"data": {"colour": "blue"}})
        pod = await wait_for("volumes", ended)
        text = await logs_of(client, "volumes")
        assert pod["status"]["phase"] == "Succeeded", text
        assert text.startswith('reds3crettier="one"red')
        assert "-r--------" in text and "full" in text and "ro\n" in text and "changed" in text
        sizes = [int(line) for line in text.splitlines() if line.strip().isdigit()]
        assert sizes and sizes[0] > 100, "a token"
    finally:
        await client.delete(CONFIG_MAP, "settings", "default")
        await client.delete(SECRET, "hidden", "default")
    leaks = [path for path in (node.state / "nodes" / node.name / "pods").rglob("*") if path.is_file()]
    assert not [path for path in leaks if b"s3cret" in path.read_bytes()], "a Secret reached the disk"


async def test_volumes_are_mounted_inside_those_that_only_the_api_writes(
    client: Client, make: Any, wait_for: Any
) -> None:
    """As mybinder.org mounts templates below /etc/jupyter; the outer files go on to follow the API."""
    for name in ("outer", "inner"):
        meta = {"name": name, "namespace": "default"}
        await client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"name": name}})
    script = (
        "cat /etc/own/name /etc/own/templates/deep/name; touch /etc/own/space/made || exit 1;"
        " while [ $(cat /etc/own/name) = outer ]; do sleep 0.1; done; cat /etc/own/name /etc/own/templates/deep/name"
    )
    try:
        await make(
            "nested",
            script,
            hostUsers=False,
            restartPolicy="Never",
            volumes=[
                {"name": "inner", "configMap": {"name": "inner"}},
                {"name": "outer", "configMap": {"name": "outer"}},
                {"name": "space", "emptyDir": {}},
            ],
            container={
                "volumeMounts": [
                    {"name": "inner", "mountPath": "/etc/own/templates/deep"},
                    {"name": "space", "mountPath": "/etc/own/space/"},
                    {"name": "outer", "mountPath": "/etc/own"},
                ]
            },
        )
        await wait_for("nested", lambda pod: pod["status"].get("phase") in {"Running", "Failed"})
        await client.patch(CONFIG_MAP, "outer", "default", {"data": {"name": "changed"}})
        pod = await wait_for("nested", ended)
        text = await logs_of(client, "nested")
        assert pod["status"]["phase"] == "Succeeded", (text, pod["status"])
        assert text == "outerinnerchangedinner"
    finally:
        for name in ("outer", "inner"):
            await client.delete(CONFIG_MAP, name, "default")


async def test_claims_and_host_paths(client: Client, make: Any, wait_for: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pv"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "tested"},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"},
            "claimRef": {"namespace": "default", "name": "tested", "kind": "PersistentVolumeClaim", "apiVersion": "v1"},
            "storageClassName": "",
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "tested", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
            "storageClassName": "",
            "volumeName": "tested",
        },
    }
    await client.create(volume)
    await client.create(claim)
    try:
        await make(
            "claims",
            "echo kept > /data/deep/file; id -G; ls -ln /data; test ! -w /host/name && cat /host/name",
            restartPolicy="Never",
            securityContext={"fsGroup": 300, "runAsUser": 1000},
            volumes=[
                {"name": "claim", "persistentVolumeClaim": {"claimName": "tested"}},
                {"name": "host", "hostPath": {"path": "/etc/hostname", "type": "File"}},
            ],
            container={
                "volumeMounts": [
                    {"name": "claim", "mountPath": "/data/deep", "subPath": "a/b"},
                    {"name": "host", "mountPath": "/host/name", "readOnly": True},
                ]
            },
        )
        pod = await wait_for("claims", ended)
        assert pod["status"]["phase"] == "Succeeded", await logs_of(client, "claims")
        assert (folder / "a/b/file").read_text() == "kept\n"
        assert (folder / "a/b/file").stat().st_gid == 300
        assert Path("/etc/hostname").read_text() in await logs_of(client, "claims")
    finally:
        await client.delete(PERSISTENT_VOLUME_CLAIM, "tested", "default")
        await client.delete(PERSISTENT_VOLUME, "tested")
