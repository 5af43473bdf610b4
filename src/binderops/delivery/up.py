"""`up`: look at the machine, build images, ensure the target, then what `deploy` does: gate, release, proof, record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urljoin

from binderops.delivery.bringing import Gate, bring
from binderops.delivery.progress import Progress, Step, running
from binderops.delivery.results import UpResult
from binderops.delivery.workspace import Workspace
from binderops.state.values import get_path

BuildImages = Callable[[Step], Awaitable[str]]
"""Builds what is missing and answers with words for people; wired by the command."""


async def up(workspace: Workspace, *, build_images: BuildImages, gate: Gate, progress: Progress) -> UpResult:
    """Brings an environment up and proves it. Run twice, it changes nothing and takes seconds.

    Whatever breaks it off (an error, Ctrl-C) leaves a state that the next run goes on from: each step looks first at
    what is already there.
    """
    wanted = workspace.deployment()
    _ = wanted.objects  # files that are wrong are told before anything is made or started
    ports = wanted.public.ports
    with running(progress, "this machine") as step:
        machine = step.summary = await workspace.target.examine(ports=ports, report=step.say)
        if workspace.environment.target.node is not None:
            workspace.write_generated(workspace.target.facts())
    with running(progress, "images") as step:
        images = step.summary = await build_images(step)
    with running(progress, "node" if workspace.environment.target.node else "cluster") as step:
        ensured = await workspace.target.ensure(report=step.say)
        step.summary = ensured.summary
    done = await bring(workspace, action="up", gate=gate, progress=progress)
    return UpResult(
        environment=workspace.name,
        machine=machine,
        images=images,
        target=ensured.summary,
        deploy=done.deploy,
        proof=done.proof,
        record=done.record,
        binder_url=done.binder_url,
        try_url=folder_link(wanted.computed, done.binder_url, workspace.environment.proof),
        try_command=f"binderops launch {workspace.environment.proof} --environment {workspace.name}",
    )


def folder_link(computed: Mapping[str, Any], binder_url: str, folder: str) -> str | None:
    """Where visitors launch the folder that the proof uploaded; None where they are not offered uploaded folders."""
    providers: Mapping[str, Any] = get_path(computed, "binderhub.config.BinderHub.repo_providers") or {}
    prefixes = [prefix for prefix, provider in providers.items() if provider == "LocalRepoProvider"]
    return urljoin(binder_url, f"v2/{prefixes[0]}/{folder.rsplit('/', 1)[-1]}/HEAD") if prefixes else None
