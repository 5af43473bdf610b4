"""Waits until every object of a release is ready, telling what each waits for, and fails as soon as one cannot be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from binderops.delivery.progress import Step
from binderops.delivery.pulls import FailingPulls
from binderops.delivery.readiness import Assessment, CrashesSince, Verdict, assess
from binderops.errors import KubernetesError, NotReadyError
from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import (
    DAEMON_SET,
    DEPLOYMENT,
    EVENT,
    JOB,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SERVICE,
    STATEFUL_SET,
    Kind,
)
from binderops.kube.objects import name_of

WATCHED = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, PERSISTENT_VOLUME_CLAIM, SERVICE)
_LOG_LINES = 12

Key = tuple[str, str]


async def wait_ready(
    client: Client, objects: Iterable[Mapping[str, Any]], *, namespace: str, timeout: float, step: Step
) -> None:
    """Returns when all are ready; raises NotReadyError naming the object, the reason and a crash's last log lines."""
    wanted = {(str(obj["kind"]), name_of(obj)) for obj in objects if not _is_hook(obj)}
    changed = asyncio.Event()
    async with AsyncExitStack() as stack:
        informers = {kind: await _follow(client, kind, namespace, changed, stack) for kind in (*WATCHED, POD)}
        await asyncio.gather(*(informer.synced.wait() for informer in informers.values()))
        deadline = time.monotonic() + timeout
        crashes, pulls = CrashesSince(), FailingPulls()
        while True:
            changed.clear()
            found = _waiting(wanted, informers, namespace, crashes)
            waiting = {key: pulls.judged(assessment) for key, assessment in found.items()}
            if not waiting:
                return
            for key, assessment in waiting.items():
                if assessment.verdict is Verdict.FAILED:
                    raise await _not_ready(client, key, assessment, namespace)
            key, assessment = next(iter(waiting.items()))
            step.say(f"{key[0]} {key[1]}: {assessment.reason}", fraction=1 - len(waiting) / max(1, len(wanted)))
            left = deadline - time.monotonic()
            if left <= 0:
                raise await _not_ready(client, key, assessment, namespace, timeout=timeout)
            try:
                async with asyncio.timeout(min(left, 5)):
                    await changed.wait()
            except TimeoutError:
                continue


async def _follow(
    client: Client, kind: Kind, namespace: str, changed: asyncio.Event, stack: AsyncExitStack
) -> Informer:
    informer = Informer(client, kind, namespace=namespace)
    informer.subscribe(lambda *_: changed.set())
    task = asyncio.create_task(informer.run())

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)
    return informer


def _waiting(
    wanted: set[Key], informers: Mapping[Kind, Informer], namespace: str, crashes: CrashesSince
) -> dict[Key, Assessment]:
    pods = crashes.counted(informers[POD].objects.values())
    found: dict[Key, Assessment] = {}
    for kind in WATCHED:
        for name in sorted(name for wanted_kind, name in wanted if wanted_kind == kind.kind):
            live = informers[kind].objects.get((namespace, name))
            # Lists leave kind and apiVersion out of their items; the assessment reads the kind.
            judged = (
                assess({**live, "kind": kind.kind}, pods) if live else Assessment(Verdict.WAITING, "is not there yet")
            )
            if judged.verdict is not Verdict.READY:
                found[kind.kind, name] = judged
    return found


async def _not_ready(
    client: Client, key: Key, assessment: Assessment, namespace: str, *, timeout: float | None = None
) -> NotReadyError:
    why = assessment.reason
    if assessment.crashed:
        why += "\n" + await last_log_lines(client, *assessment.crashed, namespace=namespace)
    warnings = await _warnings(client, namespace)
    if warnings and not assessment.crashed and not assessment.pull:
        why += "\n" + "\n".join(warnings)
    what = f"{key[0]} {key[1]} cannot get ready"
    if timeout is not None:
        what = f"{key[0]} {key[1]} was not ready within {timeout:.0f} s"
    return NotReadyError(
        what, where=f"namespace {namespace}", why=why, hint=assessment.hint or f"binderops logs {key[1]}"
    )


async def last_log_lines(client: Client, pod: str, container: str, *, namespace: str) -> str:
    """The last lines that a container wrote before it ended, or the reason why there are none."""
    for previous in (True, False):
        try:
            chunks = [
                chunk
                async for chunk in client.logs(pod, namespace, container=container, tail=_LOG_LINES, previous=previous)
            ]
        except KubernetesError:
            continue
        text = b"".join(chunks).decode(errors="replace").strip()
        if text:
            return text
    return "(it wrote no log)"


async def _warnings(client: Client, namespace: str) -> list[str]:
    try:
        events = (await client.list(EVENT, namespace)).items
    except KubernetesError:
        return []
    warnings = [event for event in events if event.get("type") == "Warning"]
    warnings.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return [_told(event) for event in warnings[-3:]]


def _told(event: Mapping[str, Any]) -> str:
    about = event.get("involvedObject") or {}
    return f"{about.get('kind')} {about.get('name')}: {event.get('message')}"


def _is_hook(obj: Mapping[str, Any]) -> bool:
    return "helm.sh/hook" in (obj.get("metadata", {}).get("annotations") or {})
