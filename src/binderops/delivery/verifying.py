"""`verify` and `rollback`: what is live, proven; and the newest proven revision, live again.

Both read the release from the target, never the files: they work without git, without any network but the target's,
and while the files are broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from binderops.delivery.attempts import Attempt, recorded
from binderops.delivery.bringing import told_proof, told_to
from binderops.delivery.deployed import note_images
from binderops.delivery.progress import Progress, running
from binderops.delivery.promoting import records_of, short
from binderops.delivery.proving import prove
from binderops.delivery.records import Action, Record, proven_revisions
from binderops.delivery.results import ProofResult, RollbackResult, VerifyResult
from binderops.delivery.served import STATE_LABEL, Live, digest_from, door_of, newest_release, read_live
from binderops.delivery.waiting import wait_ready
from binderops.delivery.workspace import Workspace
from binderops.errors import RollbackError
from binderops.helm.releases import Release
from binderops.kube.client import Client
from binderops.target.protocol import Access

_GONE = {"failed", "pending-install", "pending-upgrade", "pending-rollback", "uninstalled"}


async def verify(workspace: Workspace, *, progress: Progress) -> VerifyResult:
    """Proves the live revision as it is, and records that; raises the first error, recorded as well."""
    access = workspace.target.access()
    with running(progress, "live") as step:
        live = await read_live(access, workspace.environment)
        step.summary = f"{live.release.name} revision {live.revision}, state {short(live.digest) or 'not ours'}"
    attempt = _attempt(workspace, live, "verify")
    async with recorded(attempt, access):
        proof = await _prove(workspace, live, access, attempt, progress)
    return VerifyResult(environment=workspace.name, revision=live.revision, proof=proof, record=attempt.recorded)


async def rollback(workspace: Workspace, *, progress: Progress) -> RollbackResult:
    """Goes back to the newest proven revision by Helm's own history, waits until it is ready, proves and records it.

    Raises RollbackError where Helm has none that was proven, or where only the live one was.
    """
    access, environment = workspace.target.access(), workspace.environment
    door = door_of(access, environment)
    with running(progress, "history") as step:
        history = await door.history(environment.release)
        chosen = choose_revision(history, await records_of(workspace), environment=workspace.name)
        left = history[-1].revision
        step.summary = f"revision {chosen.revision} is the newest that was proven"
    with running(progress, "release") as step:
        step.say(f"helm is bringing back revision {chosen.revision}")
        before = await newest_release(door, environment.release)
        digest = digest_from(chosen.labels, STATE_LABEL)
        await door.rollback(environment.release, revision=chosen.revision, timeout=environment.timeout)
        live = await read_live(access, environment)
        note_images(workspace, live.revision, again=chosen.revision)
        assert before is None or live.revision > before.revision
        step.summary = f"revision {live.revision} is {chosen.revision} again, state {short(digest)}"
    attempt = _attempt(workspace, live, "rollback")
    async with recorded(attempt, access):
        proof = await _prove(workspace, live, access, attempt, progress)
    return RollbackResult(
        environment=workspace.name,
        left=left,
        back_to=chosen.revision,
        revision=live.revision,
        proof=proof,
        record=attempt.recorded,
    )


def choose_revision(history: list[Release], records: list[Record], *, environment: str) -> Release:
    """The newest revision below the live one that is not the live state and whose newest record is a pass."""
    if not history:
        raise RollbackError(f"nothing is deployed in {environment}", hint=f"binderops up {environment}")
    live = history[-1]
    proven: Mapping[int, Record] = proven_revisions(records)
    for found in reversed(history[:-1]):
        same = bool(live.labels.get(STATE_LABEL)) and found.labels.get(STATE_LABEL) == live.labels.get(STATE_LABEL)
        if found.revision in proven and not same and found.status not in _GONE:
            return found
    known = ", ".join(str(revision) for revision in sorted(proven)) or "none"
    raise RollbackError(
        f"there is no proven revision of {environment} to go back to",
        where=f"release {live.name} in namespace {live.namespace}",
        why=f"live is revision {live.revision}; proven are: {known}; Helm still has "
        + ", ".join(str(found.revision) for found in history),
        hint=f"mend the files, then binderops up {environment}",
    )


def _attempt(workspace: Workspace, live: Live, action: Action) -> Attempt:
    return Attempt(
        environment=workspace.name,
        namespace=live.namespace,
        action=action,
        digest=live.digest,
        common=live.common,
        revision=live.revision,
    )


async def _prove(workspace: Workspace, live: Live, access: Access, attempt: Attempt, progress: Progress) -> ProofResult:
    with running(progress, "ready") as step:
        async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
            await wait_ready(client, live.objects, namespace=live.namespace, timeout=live.timeout, step=step)
        step.summary = f"{len(live.objects)} objects, all ready"
    with running(progress, "proof") as step:
        folder: Path = workspace.root / workspace.environment.proof
        proof = await prove(live, access, folder=folder, on_event=told_to(step), timings=attempt.timings)
        step.summary = told_proof(proof, workspace.environment.proof)
    return proof
