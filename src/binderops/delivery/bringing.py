"""`deploy`: the gate, the release, the proof, the record. `up` does the same after it has made the target run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from binderops.delivery.attempts import Attempt, recorded
from binderops.delivery.deployed import note_images
from binderops.delivery.deploying import deploy, is_live
from binderops.delivery.launching import LogLine
from binderops.delivery.progress import Progress, Step, running
from binderops.delivery.promoting import require_proof
from binderops.delivery.proving import prove
from binderops.delivery.records import Action
from binderops.delivery.results import DeployedResult, DeployResult, ProofResult
from binderops.delivery.secrets_check import refuse_shared
from binderops.delivery.workspace import Workspace
from binderops.errors import TargetError, UsageError


@dataclass(frozen=True)
class Gate:
    """Who must have proven the common part, and the reason to go ahead without."""

    promoters: Sequence[Workspace] = ()
    without_proof: str | None = None

    def __post_init__(self) -> None:
        if self.without_proof is not None and not self.without_proof.strip():
            raise UsageError("--without-proof wants a reason", hint="it stands in the record: say why this cannot wait")


async def deploy_proven(workspace: Workspace, *, gate: Gate, progress: Progress) -> DeployedResult:
    """Deploys to a target that runs already; raises TargetError where it does not."""
    health = await workspace.target.health()
    if not health.running:
        raise TargetError(
            f"the target of {workspace.name} does not run", why=health.summary, hint=f"binderops up {workspace.name}"
        )
    return await bring(workspace, action="deploy", gate=gate, progress=progress)


async def bring(workspace: Workspace, *, action: Action, gate: Gate, progress: Progress) -> DeployedResult:
    """Gate, release, proof, record; raises what breaks it off, after it was recorded."""
    if workspace.seals:
        with running(progress, "secrets") as step:
            now = datetime.now(UTC)
            step.summary = await asyncio.to_thread(
                refuse_shared, workspace.root, workspace.project, workspace.name, now=now
            )
    deployment = workspace.deployment()
    access = workspace.target.access()
    if gate.promoters:
        with running(progress, "promotion") as step:
            step.summary = await _pass(workspace, gate)
    attempt = Attempt(
        environment=workspace.name,
        namespace=deployment.namespace,
        action=action,
        digest=deployment.digest,
        common=deployment.common,
        without_proof=gate.without_proof,
        conceal=deployment.concealed,
    )
    _ = deployment.objects  # a chart that does not render is no attempt: nothing was tried on the target

    def brought(revision: int) -> None:
        attempt.brought(revision)
        note_images(workspace, revision)

    async with recorded(attempt, access):
        with running(progress, "release") as step:
            deployed = await deploy(deployment, access, step=step, on_revision=brought)
            attempt.timings["release"] = deployed.seconds
            step.summary = told_release(deployed)
        with running(progress, "proof") as step:
            proof = await prove(
                deployment,
                access,
                folder=workspace.root / workspace.environment.proof,
                on_event=told_to(step),
                timings=attempt.timings,
            )
            step.summary = told_proof(proof, workspace.environment.proof)
    return DeployedResult(
        environment=workspace.name,
        deploy=deployed,
        proof=proof,
        record=attempt.recorded,
        binder_url=deployment.public.url,
    )


async def _pass(workspace: Workspace, gate: Gate) -> str:
    deployment = workspace.deployment()
    if gate.without_proof:
        return f"without proof: {gate.without_proof}"
    if await is_live(deployment, workspace.target.access()):
        return "this state is live already"
    return await require_proof(workspace, deployment, gate.promoters)


def told_to(step: Step) -> LogLine:
    """A launch's events as words of a step."""

    def told(phase: str, text: str) -> None:
        step.say(f"{phase}: {text}" if phase else text)

    return told


def told_release(result: DeployResult) -> str:
    """A deployment in a line."""
    unchanged = "" if result.changed else ", unchanged"
    told = f"{result.release} revision {result.revision}: {result.objects} objects, all ready{unchanged}"
    return "; ".join([told, *result.settled])


def told_proof(result: ProofResult, folder: str) -> str:
    """A proof in a line."""
    built = "" if result.launch.built else ", image known"
    return f"launched {folder} in {result.launch.seconds:.1f} s{built}; a kernel added {result.expression}"
