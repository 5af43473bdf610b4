"""What a pod has before any of its containers: its network, its volumes, its /etc/hosts and resolv.conf."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of, uid_of
from binderops.node.pods import cgroups, resources
from binderops.node.pods.hosts import hosts_file, resolv_conf
from binderops.node.pods.identity import Owner, owner_of
from binderops.node.pods.kit import Kit
from binderops.node.pods.sources import is_payload


class Sandbox(NamedTuple):
    """A prepared pod: its network namespace and address, where its volumes lie, its own folder."""

    network: Path
    address: str
    volumes: dict[str, Path]
    payloads: frozenset[str]
    folder: Path
    owner: Owner


async def prepare(kit: Kit, pod: Object) -> Sandbox:
    """Make (or find) the pod's network and volumes.

    NetworkError, VolumeSetupError or KubernetesError if that cannot be done yet: try again.
    """
    owner = owner_of(pod, kit.config.user_namespace)
    await asyncio.to_thread(_limit, kit, pod)
    attachment = await kit.network.attach(pod)
    volumes = await kit.volumes.prepare(pod, owner, kit.context(attachment.address))
    folder = kit.volumes.folder(uid_of(pod))
    await asyncio.to_thread(_write_names, kit, pod, folder, attachment.address)
    payloads = frozenset(str(volume["name"]) for volume in spec_of(pod).get("volumes") or [] if is_payload(volume))
    return Sandbox(attachment.namespace, attachment.address, volumes, payloads, folder, owner)


async def remove(kit: Kit, uid: str) -> None:
    """Give back everything that `prepare` made (idempotent)."""
    await kit.volumes.remove(uid)
    await kit.network.detach(uid)
    kit.tokens.forget(uid)
    await asyncio.to_thread(cgroups.remove, kit.config.name, uid)


def _limit(kit: Kit, pod: Object) -> None:
    cgroups.limit_pod(kit.config.name, uid_of(pod), shares=resources.pod_shares(pod), pids=resources.PIDS)


def _write_names(kit: Kit, pod: Object, folder: Path, address: str) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    domain = kit.config.cluster_domain
    files = {
        "hosts": hosts_file(pod, address, domain),
        "resolv.conf": resolv_conf(pod, dns_address=kit.config.dns_address, cluster_domain=domain),
    }
    for name, text in files.items():
        path = folder / name
        # Containers that run have the file itself mounted: a new one in its place would not reach them.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o644)
