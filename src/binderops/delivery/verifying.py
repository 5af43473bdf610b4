"""`verify` and `rollback`: what is live, proven; and the newest proven revision, live again.

Both read the release from the target, never the files: they work without git, without any network but the target's,
and while the files are broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from binderops.delivery.attempts import Attempt, recorded
from binderops.delivery.bringing import told_proof, told_to
from binderops.delivery.deployed import note_images
from binderops.delivery.holding import held
from binderops.delivery.progress import Progress, running
from binderops.delivery.promoting import records_of, short
from binderops.delivery.proving import prove
from binderops.delivery.records import Action, Record, proven_revisions
from binderops.delivery.results import ProofResult, RollbackResult, VerifyResult
from binderops.delivery.served import STATE_LABEL, Live, digest_from, door_of, newest_release, read_live
from binderops.delivery.settling import settle
from binderops.delivery.waiting import wait_ready
from binderops.delivery.workspace import Workspace
from binderops.errors import RollbackError
from binderops.helm.releases import Release
from binderops.helm.storage import CUT_LABEL
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
    access = workspace.target.access()
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        done = await _roll_back(workspace, access, client, progress)
    live = done.live
    attempt = _attempt(workspace, live, "rollback")
    async with recorded(attempt, access):
        proof = await _prove(workspace, live, access, attempt, progress)
    return RollbackResult(
        environment=workspace.name,
        left=done.left,
        back_to=done.back_to,
        revision=live.revision,
        settled=done.settled,
        proof=proof,
        record=attempt.recorded,
    )


class _RolledBack(NamedTuple):
    live: Live
    left: int
    back_to: int
    settled: str | None


async def _roll_back(workspace: Workspace, access: Access, client: Client, progress: Progress) -> _RolledBack:
    environment = workspace.environment
    namespace, release, timeout = environment.namespace, environment.release, environment.timeout
    door = door_of(access, environment)
    async with AsyncExitStack() as stack:
        with running(progress, "history") as step:
            if await newest_release(door, release) is None:
                raise _nothing(workspace.name)
            hold = await stack.enter_async_context(held(client, namespace, release, timeout=timeout, step=step))
            settled = await settle(client, hold, namespace=namespace, release=release, timeout=timeout, step=step)
            history = await door.history(release)
            chosen = choose_revision(history, await records_of(workspace), environment=workspace.name)
            step.summary = "; ".join(
                [f"revision {chosen.revision} is the newest that was proven", *([settled] if settled else [])]
            )
        with running(progress, "release") as step:
            step.say(f"helm is bringing back revision {chosen.revision}")
            left = history[-1].revision
            await hold.begin(left + 1)
            await door.rollback(release, revision=chosen.revision, timeout=timeout)
            await hold.done()
            live = await read_live(access, environment)
            note_images(workspace, live.revision, again=chosen.revision)
            assert live.revision > left
            digest = short(digest_from(chosen.labels, STATE_LABEL))
            step.summary = f"revision {live.revision} is {chosen.revision} again, state {digest}"
    return _RolledBack(live, left, chosen.revision, settled)


def choose_revision(history: list[Release], records: list[Record], *, environment: str) -> Release:
    """The newest revision below the live one that is not the live state and whose newest record is a pass."""
    if not history:
        raise _nothing(environment)
    # What a rollback that was cut off was leaving is left still, and where it went is not live yet.
    live = next((found for found in reversed(history) if not _is_cut_rollback(found)), history[-1])
    proven: Mapping[int, Record] = proven_revisions(records)
    for found in reversed([found for found in history if found.revision < live.revision]):
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


def _nothing(environment: str) -> RollbackError:
    return RollbackError(f"nothing is deployed in {environment}", hint=f"binderops up {environment}")


def _is_cut_rollback(found: Release) -> bool:
    return found.status == "failed" and found.labels.get(CUT_LABEL) == "pending-rollback"


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
