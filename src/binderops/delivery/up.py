"""`up`: look at the machine, build images, ensure the target, deploy, prove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urljoin

from binderops.delivery.deploying import deploy
from binderops.delivery.launching import LogLine
from binderops.delivery.progress import Progress, Step, running
from binderops.delivery.proving import prove
from binderops.delivery.results import DeployResult, ProofResult, UpResult
from binderops.delivery.workspace import Workspace

BuildImages = Callable[[Step], Awaitable[str]]
"""Builds what is missing and answers with words for people; wired by the command."""


async def up(workspace: Workspace, *, build_images: BuildImages, progress: Progress) -> UpResult:
    """Brings an environment up and proves it. Run twice, it changes nothing and takes seconds.

    Whatever breaks it off (an error, Ctrl-C) leaves a state that the next run goes on from: each step looks first at
    what is already there.
    """
    ports = workspace.deployment().public.ports
    with running(progress, "this machine") as step:
        machine = step.summary = await workspace.target.examine(ports=ports, report=step.say)
        workspace.write_generated(workspace.target.facts())
    with running(progress, "images") as step:
        images = step.summary = await build_images(step)
    with running(progress, "node" if workspace.environment.target.node else "cluster") as step:
        ensured = await workspace.target.ensure(report=step.say)
        step.summary = ensured.summary
    deployment = workspace.deployment()
    access = workspace.target.access()
    with running(progress, "release") as step:
        deployed = await deploy(deployment, access, step=step)
        step.summary = _deployed(deployed)
    with running(progress, "proof") as step:
        proof = await prove(
            deployment, access, folder=workspace.root / workspace.environment.proof, on_event=_told_to(step)
        )
        step.summary = _proven(proof, workspace.environment.proof)
    url = deployment.public.url
    return UpResult(
        environment=workspace.name,
        machine=machine,
        images=images,
        target=ensured.summary,
        deploy=deployed,
        proof=proof,
        binder_url=url,
        try_url=urljoin(url, f"v2/local/{workspace.environment.proof.rsplit('/', 1)[-1]}/HEAD"),
    )


def _told_to(step: Step) -> LogLine:
    def told(phase: str, text: str) -> None:
        step.say(f"{phase}: {text}" if phase else text)

    return told


def _deployed(result: DeployResult) -> str:
    unchanged = "" if result.changed else ", unchanged"
    return f"{result.release} revision {result.revision}: {result.objects} objects, all ready{unchanged}"


def _proven(result: ProofResult, folder: str) -> str:
    built = "" if result.launch.built else ", image known"
    return f"launched {folder} in {result.launch.seconds:.1f} s{built}; a kernel added {result.expression}"
