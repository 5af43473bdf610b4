"""The deployment's release, made ready to be cut: taken away for a first install, or given something to change."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.e2e.conftest import NAMESPACE, RELEASE
from tests.e2e.networks import until

from binderops.errors import KubernetesError
from binderops.helm.releases import ReleaseDoor
from binderops.kube.client import Client
from binderops.kube.kinds import PERSISTENT_VOLUME_CLAIM, POD, SECRET
from binderops.kube.objects import name_of

_PENDING = f"owner=helm,name={RELEASE},status in (pending-install,pending-upgrade)"


def helm_is_at_work(kubeconfig: Path) -> bool:
    """Whether Helm's record says that it has begun, and not ended."""

    async def ask() -> bool:
        async with Client.from_kubeconfig(kubeconfig) as client:
            return bool((await client.list(SECRET, NAMESPACE, labels=_PENDING, metadata_only=True)).items)

    try:
        return kubeconfig.exists() and asyncio.run(ask())
    except (KubernetesError, OSError):  # of a node that starts
        return False


def uninstall(kubeconfig: Path) -> None:
    """Takes the release away, with all that is in it: the next `up` is a first install."""

    async def left() -> bool:
        async with Client.from_kubeconfig(kubeconfig) as client:
            return any([(await client.list(kind, NAMESPACE)).items for kind in (POD, PERSISTENT_VOLUME_CLAIM)])

    async def end_servers() -> None:
        async with Client.from_kubeconfig(kubeconfig) as client:
            for pod in (await client.list(POD, NAMESPACE, labels="component=singleuser-server")).items:
                await client.delete(POD, name_of(pod), NAMESPACE)

    asyncio.run(ReleaseDoor(kubeconfig, NAMESPACE).uninstall(RELEASE, timeout=120))
    asyncio.run(end_servers())  # no hub is left that would
    until(lambda: not asyncio.run(left()), "pods and claims to go", timeout=120)


def change_the_release(root: Path) -> None:
    """Another value in the test's own layer: the next `up` upgrades, and the hub is replaced."""
    layer = root / "config/e2e.yaml"
    text = layer.read_text()
    found = re.search(r" +startTimeout: (\d+)\n", text)
    number = int(found[1]) + 1 if found else 301
    text = text.replace(found[0], "") if found else text
    layer.write_text(text.replace("singleuser:\n", f"singleuser:\n      startTimeout: {number}\n"))
