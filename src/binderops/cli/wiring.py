"""Puts the pieces together for a command: repository, environment, target, image builder."""

from __future__ import annotations

import os
from pathlib import Path

from binderops.cli.images import build_all, machine_facts
from binderops.delivery.progress import Step
from binderops.delivery.up import BuildImages
from binderops.delivery.workspace import Workspace
from binderops.state.project import Project, find_root, load_project
from binderops.target.cluster import ClusterTarget, default_kubeconfig
from binderops.target.node import NodeTarget
from binderops.target.protocol import Target

DEFAULT_STATE = Path("/var/lib/binderops")
DEFAULT_RUN = Path("/run/binderops")


def state_folder() -> Path:
    """$BINDEROPS_STATE, else /var/lib/binderops."""
    return Path(os.environ.get("BINDEROPS_STATE") or DEFAULT_STATE)


def run_folder() -> Path:
    """$BINDEROPS_RUN, else /run/binderops."""
    return Path(os.environ.get("BINDEROPS_RUN") or DEFAULT_RUN)


def open_project(directory: Path) -> tuple[Path, Project]:
    """The repository at or above `directory`."""
    root = find_root(directory)
    return root, load_project(root)


def open_workspace(directory: Path, environment: str) -> Workspace:
    """The workspace of one environment."""
    root, project = open_project(directory)
    return workspace_of(root, project, environment)


def workspace_of(root: Path, project: Project, environment: str) -> Workspace:
    """Wires the environment's target."""
    return Workspace(
        root=root, project=project, name=environment, target=_target(project, environment), state=state_folder()
    )


def _target(project: Project, environment: str) -> Target:
    settings = project.environment(environment).target
    if settings.cluster is not None:
        named = settings.cluster.kubeconfig
        return ClusterTarget(settings.cluster.context, Path(named).expanduser() if named else default_kubeconfig())
    node = settings.node
    assert node is not None
    return NodeTarget(
        name=node.name,
        api_port=node.api_port,
        host_addresses=node.host_addresses,
        state=state_folder(),
        run=run_folder(),
        machine=machine_facts(state_folder()),
        pod_range=node.pod_range,
        service_range=node.service_range,
    )


def image_builder(workspace: Workspace) -> BuildImages:
    """What `up` calls for its images: on a node they are built from this repository's files."""

    async def build(step: Step) -> str:
        if workspace.environment.target.node is None:
            return "published ones, by images.lock.yaml"
        return await build_all(workspace.root, workspace.state, workspace.project.images, step=step)

    return build
