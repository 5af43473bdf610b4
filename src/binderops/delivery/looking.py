"""`status` and `logs`: what runs now, and what it says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

from binderops.delivery.attempts import shown
from binderops.delivery.demonstration import refuse_demonstration
from binderops.delivery.ledger import Ledger
from binderops.delivery.readiness import Verdict, assess_pod
from binderops.delivery.records import newest_of
from binderops.delivery.remembering import recalled, remember
from binderops.delivery.results import EnvironmentResult, EnvironmentStatus, PodStatus, RecordResult
from binderops.delivery.served import STATE_LABEL, digest_from, door_of, newest_release
from binderops.delivery.workspace import Workspace
from binderops.errors import BinderOpsError, LedgerError, SecretsError, UsageError
from binderops.kube.client import Client
from binderops.kube.kinds import NODE, POD, Object
from binderops.kube.objects import (
    conditions_of,
    controller_of,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    parse_timestamp,
    status_of,
)
from binderops.kube.pods import summary

BUILD = "build"
_ENDING = timedelta(seconds=30)  # what ending a pod may take beyond its grace


async def environment_status(workspace: Workspace) -> EnvironmentStatus:
    """The environment as it is now; a target that does not answer, or must not be asked, is a status, not an error."""
    try:
        refuse_demonstration(workspace.root, workspace.project, workspace.name)
    except SecretsError as error:
        return EnvironmentStatus(
            environment=workspace.name, target="refused", running=False, notes=(f"{error.what}: {error.why}",)
        )
    health = await workspace.target.health()
    wanted, url, notes = _wanted(workspace)
    if not health.running:
        stopped = EnvironmentStatus(
            environment=workspace.name,
            target=health.summary,
            running=False,
            made=health.made,
            wanted=wanted,
            binder_url=url,
            notes=notes,
        )
        return recalled(workspace, stopped) if health.made else stopped
    access, environment = workspace.target.access(), workspace.environment
    release = await newest_release(door_of(access, environment), environment.release)
    live = digest_from(release.labels, STATE_LABEL) if release else None
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        pods = (await client.list(POD, environment.namespace)).items
        closed = await _closed(client, environment.target.node.name) if environment.target.node else ()
        proven, broken = await _proven(Ledger(client, environment.namespace, workspace.name), live)
    found = EnvironmentStatus(
        environment=workspace.name,
        target=health.summary,
        running=True,
        release=release.name if release else None,
        revision=release.revision if release else None,
        release_status=release.status if release else None,
        binder_url=url,
        wanted=wanted,
        live=live,
        proven=proven,
        notes=(*notes, *broken, *closed),
        pods=pods_status(pods),
    )
    remember(workspace, found)
    return found


async def environment_result(workspace: Workspace) -> EnvironmentResult:
    """What an environment of binderops.yaml points at, and in a few words what is live there."""
    found, environment = await environment_status(workspace), workspace.environment
    return EnvironmentResult(
        environment=workspace.name,
        target=target_words(workspace),
        namespace=environment.namespace,
        release=environment.release,
        binder_url=found.binder_url,
        layers=environment.layers,
        promotes_to=environment.promotes_to,
        waits_for=tuple(workspace.project.promoters_of(workspace.name)),
        running=found.running,
        live=live_words(found),
    )


def target_words(workspace: Workspace) -> str:
    """Where an environment runs."""
    target = workspace.environment.target
    if target.node is not None:
        return f"node {target.node.name}, API port {target.node.api_port}"
    assert target.cluster is not None
    return f"cluster {target.cluster.context or target.cluster.kubeconfig}"


def live_words(found: EnvironmentStatus) -> str:
    """What is live, in a few words."""
    if not found.running:
        return found.target
    if found.revision is None:
        return "nothing deployed"
    proof = found.proven.verdict if found.proven else "not proven"
    behind = "" if found.live == found.wanted else ", not what the files want"
    return f"revision {found.revision} ({found.release_status}), {proof}{behind}"


def _wanted(workspace: Workspace) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Digest of the files' state and the public URL, without any key; a file that is wrong is a note."""
    try:
        deployment = workspace.deployment(opened=False)
        return deployment.digest, deployment.public.url, ()
    except BinderOpsError as error:
        return None, None, (f"the files do not say what should run: {error.what}",)


async def _proven(ledger: Ledger, live: str | None) -> tuple[RecordResult | None, tuple[str, ...]]:
    try:
        newest = newest_of(await ledger.records(), digest=live) if live else None
    except LedgerError as error:
        return None, (f"{error.reference}: {error.what}: {error.why}",)
    return (shown(newest) if newest else None), ()


async def _closed(client: Client, node: str) -> tuple[str, ...]:
    """What other firewalls of this machine keep from pods, as the node found it out."""
    for condition in conditions_of(await client.get(NODE, node)):
        if condition.get("type") == "NetworkUnavailable" and condition.get("status") == "True":
            return (f"another firewall on this machine keeps packets from pods: {condition.get('message', '')}",)
    return ()


def pods_status(pods: Iterable[Object]) -> tuple[PodStatus, ...]:
    """Each pod of a namespace, by name."""
    known = sorted(pods, key=name_of)
    alive = {_owner(pod) for pod in known if status_of(pod).get("phase") != "Failed"} - {""}
    return tuple(_pod(pod, replaced=_owner(pod) in alive) for pod in known)


def _pod(pod: Object, *, replaced: bool) -> PodStatus:
    judged, found, phase = assess_pod(pod), summary(pod), str(status_of(pod).get("phase", "Pending"))
    ready, done = judged.verdict is Verdict.READY, phase == "Succeeded"
    reason = "" if ready or done else judged.reason
    leaving = is_deleting(pod) and not ready
    if leaving:
        reason = f"pod {name_of(pod)} is being ended"
    return PodStatus(
        name=name_of(pod),
        app=app_of(pod),
        phase=phase,
        status=found.status,
        containers=f"{found.ready}/{found.total}",
        ready=ready,
        well=ready or done or (phase == "Failed" and replaced) or (leaving and not _is_overdue(pod)),
        restarts=found.restarts,
        reason=reason,
    )


def _is_overdue(pod: Object) -> bool:
    """Whether a pod is still there well after the moment at which it was to be gone."""
    to_be_gone = parse_timestamp(str(metadata_of(pod)["deletionTimestamp"]))
    return datetime.now(UTC) > to_be_gone + _ENDING


def _owner(pod: Object) -> str:
    return str((controller_of(pod) or {}).get("uid") or "")


def app_of(pod: Object) -> str:
    """The word that `binderops logs` takes for a pod: hub, proxy, binder, registry, ingress, server, build, …"""
    labels = labels_of(pod)
    component = labels.get("component", "")
    if labels.get("app") == "nginx-ingress":
        return "ingress" if component == "controller" else component
    return {"singleuser-server": "server", "binderhub-build": BUILD}.get(component) or (
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
        if not chosen and app == BUILD:
            raise UsageError(
                f"no build runs in {workspace.name} now",
                why="a build's pod goes when it is done",
                hint="launch it again: the launch page and binderops launch show the log while it is built",
            )
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
                async for chunk in words_of(stream) if app_of(pod) == BUILD else stream:
                    yield name_of(pod), chunk


async def words_of(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What a build says: its pod writes a JSON object a line, with the words in `message`."""
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield _message(line)
    if rest:
        yield _message(rest)


def _message(line: bytes) -> bytes:
    try:
        message = json.loads(line)["message"]
    except (ValueError, TypeError, KeyError):
        return line + b"\n"
    return str(message).rstrip("\n").encode() + b"\n"
