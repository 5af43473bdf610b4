"""`status` and `logs`: what runs now, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from binderops.delivery.deploying import live_release
from binderops.delivery.readiness import Verdict, assess_pod
from binderops.delivery.results import EnvironmentStatus, PodStatus
from binderops.delivery.workspace import Workspace
from binderops.errors import BinderOpsError, UsageError
from binderops.helm.releases import ReleaseDoor
from binderops.kube.client import Client
from binderops.kube.kinds import POD
from binderops.kube.objects import labels_of, name_of, status_of


async def environment_status(workspace: Workspace) -> EnvironmentStatus:
    """The environment as it is now; a target that does not answer is a status, not an error."""
    health = await workspace.target.health()
    if not health.running:
        return EnvironmentStatus(environment=workspace.name, target=health.summary, running=False)
    access, environment = workspace.target.access(), workspace.environment
    release = await live_release(
        ReleaseDoor(access.kubeconfig, environment.namespace, access.context), environment.release
    )
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        pods = (await client.list(POD, environment.namespace)).items
    return EnvironmentStatus(
        environment=workspace.name,
        target=health.summary,
        running=True,
        release=release.name if release else None,
        revision=release.revision if release else None,
        release_status=release.status if release else None,
        binder_url=_url(workspace),
        pods=tuple(_pod(pod) for pod in sorted(pods, key=name_of)),
    )


def _url(workspace: Workspace) -> str | None:
    try:
        return workspace.deployment().public.url
    except BinderOpsError:
        return None


def _pod(pod: dict[str, Any]) -> PodStatus:
    judged = assess_pod(pod)
    status = status_of(pod)
    done = status.get("phase") == "Succeeded"
    return PodStatus(
        name=name_of(pod),
        app=app_of(pod),
        phase=str(status.get("phase", "Pending")),
        ready=judged.verdict is Verdict.READY or done,
        restarts=sum(int(entry.get("restartCount", 0)) for entry in status.get("containerStatuses", [])),
        reason="" if done else judged.reason,
    )


def app_of(pod: dict[str, Any]) -> str:
    """The word that `binderops logs` takes for a pod: hub, proxy, binder, registry, ingress, server, build, …"""
    labels = labels_of(pod)
    component = labels.get("component", "")
    if labels.get("app") == "nginx-ingress":
        return "ingress" if component == "controller" else component
    return {"singleuser-server": "server", "binderhub-build": "build"}.get(component) or (
        labels.get("app", "") if component in {"", "nginx"} else component
    )


async def logs(
    workspace: Workspace, app: str, *, follow: bool, tail: int | None, previous: bool
) -> AsyncIterator[tuple[str, bytes]]:
    """(pod name, bytes) of every pod of an app, or of the pod of that name; UsageError names those there are."""
    access, namespace = workspace.target.access(), workspace.environment.namespace
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        pods = (await client.list(POD, namespace)).items
        chosen = [pod for pod in pods if app in {app_of(pod), name_of(pod)}]
        if not chosen:
            known = ", ".join(sorted({app_of(pod) for pod in pods})) or "none: nothing runs"
            raise UsageError(f"nothing called {app!r} runs in {workspace.name}", hint=f"apps: {known}")
        if follow:
            chosen = chosen[-1:]
        for pod in sorted(chosen, key=name_of):
            for container in pod["spec"]["containers"]:
                stream = client.logs(
                    name_of(pod), namespace, container=container["name"], follow=follow, tail=tail, previous=previous
                )
                async for chunk in stream:
                    yield name_of(pod), chunk
