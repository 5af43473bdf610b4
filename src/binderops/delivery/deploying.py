"""Deploying a state: Helm brings the objects, then each must get ready. Never creates a target."""

from __future__ import annotations

import time

from binderops.delivery.progress import Step
from binderops.delivery.results import DeployResult
from binderops.delivery.waiting import wait_ready
from binderops.helm.releases import Release, ReleaseDoor
from binderops.kube.client import Client
from binderops.state.deployment import Deployment
from binderops.target.protocol import Access

STATE_LABEL = "binderops.dev/state"
"""On the release's record: which state it is. Helm's history tells labels, but not descriptions."""


async def deploy(deployment: Deployment, access: Access, *, step: Step) -> DeployResult:
    """Installs or upgrades where the wanted state is not the live one, and waits until all is ready."""
    started = time.monotonic()
    environment = deployment.environment
    objects = deployment.objects
    door = ReleaseDoor(access.kubeconfig, environment.namespace, access.context)
    step.say("asking Helm for the release's history")
    live = await live_release(door, environment.release)
    changed = live is None or live.status != "deployed" or not _same(live, deployment)
    if changed:
        step.say("helm is bringing the objects")
        live = await door.deploy(
            environment.release,
            chart=deployment.chart.content,
            values=deployment.values,
            timeout=environment.timeout,
            description=f"state {deployment.digest}",
            labels={STATE_LABEL: _short(deployment.digest)},
        )
    assert live is not None
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        await wait_ready(client, objects, namespace=environment.namespace, timeout=environment.timeout, step=step)
    return DeployResult(
        release=environment.release,
        namespace=environment.namespace,
        revision=live.revision,
        objects=len(objects),
        changed=changed,
        seconds=round(time.monotonic() - started, 2),
    )


async def live_release(door: ReleaseDoor, release: str) -> Release | None:
    """The newest revision, or None."""
    history = await door.history(release)
    return history[-1] if history else None


def _same(live: Release, deployment: Deployment) -> bool:
    return live.labels.get(STATE_LABEL) == _short(deployment.digest)


def _short(digest: str) -> str:
    # A label's value holds at most 63 characters, one less than the digits of a sha256.
    return digest.removeprefix("sha256:")[:40]
