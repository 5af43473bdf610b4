"""Puts the pieces together for a command: repository, environment, target, image builder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from binderops.cli.images import build_all, machine_facts
from binderops.delivery.bringing import Gate
from binderops.delivery.demonstration import refuse_demonstration
from binderops.delivery.progress import Step
from binderops.delivery.up import BuildImages
from binderops.delivery.workspace import Workspace
from binderops.secrets.formats import is_secret_path
from binderops.secrets.layers import open_layer
from binderops.secrets.values import reveal_for_helm
from binderops.state.project import Project, find_root, load_project
from binderops.state.settings import ClusterSettings
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
    """The workspace of one environment; refused where a demonstration key reads what goes to a target elsewhere."""
    root, project = open_project(directory)
    refuse_demonstration(root, project, environment)
    return workspace_of(root, project, environment)


def workspace_of(root: Path, project: Project, environment: str) -> Workspace:
    """Wires the environment's target."""
    return Workspace(
        root=root, project=project, name=environment, target=_target(root, project, environment), state=state_folder()
    )


def gate_of(workspace: Workspace, without_proof: str | None) -> Gate:
    """The environments that must have proven what this one takes, each with its own target."""
    promoters = [
        workspace_of(workspace.root, workspace.project, name) for name in workspace.project.promoters_of(workspace.name)
    ]
    return Gate(promoters=promoters, without_proof=without_proof)


def _target(root: Path, project: Project, environment: str) -> Target:
    settings = project.environment(environment).target
    if settings.cluster is not None:
        return _cluster(root, settings.cluster)
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
        image_budget=node.image_budget,
    )


def _cluster(root: Path, settings: ClusterSettings) -> ClusterTarget:
    if settings.kubeconfig is None:
        return ClusterTarget(settings.context, default_kubeconfig())
    path = root / Path(settings.kubeconfig).expanduser()
    if not is_secret_path(settings.kubeconfig):
        return ClusterTarget(settings.context, path)

    def opened() -> dict[str, Any]:
        # A kubeconfig leads away from this machine: one that a demonstration key opens is refused.
        layer = open_layer(path, name=settings.kubeconfig, on_this_machine=False)
        return dict(reveal_for_helm(layer.values))

    return ClusterTarget(settings.context, path, opened)


def image_builder(workspace: Workspace) -> BuildImages:
    """What `up` calls for its images: on a node they are built from this repository's files."""

    async def build(step: Step) -> str:
        if workspace.environment.target.node is None:
            return "published ones, by images.lock.yaml"
        return await build_all(workspace.root, workspace.state, workspace.project.images, step=step)

    return build
