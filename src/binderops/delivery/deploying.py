"""Deploying a state: Helm brings the objects, then each must get ready. Never creates a target, proves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from binderops.delivery.holding import held
from binderops.delivery.placing import check_places
from binderops.delivery.progress import Step
from binderops.delivery.results import DeployResult
from binderops.delivery.served import COMMON_LABEL, STATE_LABEL, digest_from, label_of, newest_release
from binderops.delivery.settling import begin_anew, settle
from binderops.delivery.surplus import never_finished, remove_surplus
from binderops.delivery.waiting import wait_ready
from binderops.errors import HelmError, TargetError
from binderops.helm.releases import Release, ReleaseDoor
from binderops.kube.client import Client
from binderops.state.chart import digest_of
from binderops.state.composition import layer_digest
from binderops.state.deployment import Deployment
from binderops.state.release import ReleaseState
from binderops.target.protocol import Access


async def deploy(
    deployment: Deployment, access: Access, *, step: Step, on_revision: Callable[[int], None] = lambda _: None
) -> DeployResult:
    """Installs or upgrades where the wanted state is not the live one, and waits until all is ready.

    Releases that come before are brought first, each ready before the next. `on_revision` is told Helm's number of the
    environment's own release as soon as Helm has brought its objects.
    """
    started = time.monotonic()
    objects = deployment.objects
    await check_version(deployment, access)
    if deployment.environment.target.node is not None:
        step.say("looking whether each pod may run on this machine's node")
        async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
            await check_places(
                client, [obj for state in (*deployment.before, deployment.main) for obj in state.objects]
            )
    settled: list[str] = []
    for first in deployment.before:
        step.say(f"{first.release}: comes before")
        labels = {STATE_LABEL: label_of(_digest(first))}
        _, _, words = await _bring(first, access, labels=labels, step=step)
        settled += [f"{first.release} {words}"] * bool(words)
    labels = {STATE_LABEL: label_of(deployment.digest), COMMON_LABEL: label_of(deployment.common)}
    live, changed, words = await _bring(deployment.main, access, labels=labels, step=step, on_revision=on_revision)
    return DeployResult(
        release=deployment.main.release,
        namespace=deployment.namespace,
        revision=live.revision,
        objects=len(objects),
        changed=changed,
        seconds=round(time.monotonic() - started, 2),
        settled=(*settled, *([words] if words else [])),
    )


async def is_live(deployment: Deployment, access: Access) -> bool:
    """Whether exactly this state is what Helm deployed last: then a deployment changes nothing."""
    door = ReleaseDoor(access.kubeconfig, deployment.namespace, access.context)
    live = await newest_release(door, deployment.main.release)
    return live is not None and live.status == "deployed" and digest_from(live.labels, STATE_LABEL) == deployment.digest


async def check_version(deployment: Deployment, access: Access) -> None:
    """Raises TargetError where the target's Kubernetes is another than binderops.yaml says."""
    wanted = deployment.environment.kubernetes_version
    if wanted is None:
        return
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        told = await client.request("GET", "/version")
    found = f"{told.get('major', '')}.{str(told.get('minor', '')).rstrip('+')}"
    if found != wanted:
        raise TargetError(
            f"the target is Kubernetes {found}, {deployment.name} is meant for {wanted}",
            where=f"binderops.yaml: environments.{deployment.name}.kubernetesVersion",
            why="what was checked against one version may be refused, or mean something else, on another",
            hint=f"set it to {found!r} once the charts are known to fit",
        )


async def _bring(
    state: ReleaseState,
    access: Access,
    *,
    labels: dict[str, str],
    step: Step,
    on_revision: Callable[[int], None] = lambda _: None,
) -> tuple[Release, bool, str | None]:
    """The live revision, whether it is a new one, and words about what had been cut off before it."""
    namespace, release, timeout = state.namespace, state.release, state.timeout
    door = ReleaseDoor(access.kubeconfig, namespace, access.context)
    async with (
        Client.from_kubeconfig(access.kubeconfig, context=access.context) as client,
        held(client, namespace, release, timeout=timeout, step=step, make_namespace=True) as hold,
    ):
        settled = await settle(client, hold, namespace=namespace, release=release, timeout=timeout, step=step)
        step.say("asking Helm for the release's history")
        history = await door.history(release)
        live = history[-1] if history else None
        changed = live is None or live.status != "deployed" or live.labels.get(STATE_LABEL) != labels[STATE_LABEL]
        if changed:
            before = [await door.status(release, revision=one.revision) for one in never_finished(history)]
            step.say(f"helm is bringing the objects of {release}")
            if live is not None and await begin_anew(client, state):
                live = None
            await hold.begin(live.revision + 1 if live else 1)
            live = await _helm(door, state, labels)
            await hold.done()
            if before:
                removed = await remove_surplus(client, await door.status(release), before)
                settled = "; ".join(words for words in (settled, removed) if words) or None
        assert live is not None
        on_revision(live.revision)
        await wait_ready(client, state.objects, namespace=namespace, timeout=timeout, step=step)
    return live, changed, settled


async def _helm(door: ReleaseDoor, state: ReleaseState, labels: dict[str, str]) -> Release:
    try:
        return await door.deploy(
            state.release,
            chart=state.chart.content,
            values=state.values_for_helm(),
            timeout=state.timeout,
            description=f"state {digest_from(labels, STATE_LABEL)}",
            labels=labels,
        )
    except HelmError as error:
        what, where, why, hint = error.what, error.where, state.concealed(error.why or ""), error.hint
    raise HelmError(what, where=where, why=why or None, hint=hint)


def _digest(state: ReleaseState) -> str:
    layers = [layer_digest(document) for document in state.layers.documents]
    return digest_of([state.chart.digest, layers, state.namespace, state.release])
