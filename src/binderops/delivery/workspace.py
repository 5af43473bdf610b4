"""What an action works on: one repository, one environment, its target, and the machine's state folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from binderops.state.deployment import Deployment, load_deployment
from binderops.state.layers import sealed_paths
from binderops.state.project import Environment, Project
from binderops.target.protocol import Target


@dataclass(frozen=True)
class Workspace:
    """One environment of one repository; `state` is the machine's state folder."""

    root: Path
    project: Project
    name: str
    target: Target
    state: Path

    @property
    def environment(self) -> Environment:
        """The environment's own settings."""
        return self.project.environment(self.name)

    @property
    def seals(self) -> bool:
        """Whether any of its layers is sealed."""
        layers = [*self.environment.layers, *(layer for first in self.environment.before for layer in first.layers)]
        return bool(sealed_paths(self.root, layers, owner=self.name))

    @property
    def image_lock(self) -> Path:
        """The lock of the images that were built on this machine, one for all its environments."""
        return self.state / "images" / "images.lock.yaml"

    @property
    def generated_layer(self) -> Path:
        """What was found out about this machine, for this environment."""
        return self.state / "environments" / self.name / "generated.yaml"

    def deployment(self, *, opened: bool = True) -> Deployment:
        """The state as the files say it now, generated layers below those that people wrote.

        With `opened` False no key is needed; it tells digests and public settings, and cannot be rendered.
        """
        generated = [self.root / "images.lock.yaml"]
        if self.environment.target.node is not None:
            # What was built on this machine, or found out about it, says nothing about a cluster.
            generated += [self.image_lock, self.generated_layer]
        return load_deployment(self.root, self.project, self.name, generated=generated, opened=opened)

    def write_generated(self, facts: Mapping[str, Any]) -> None:
        """Writes the generated layer, whole or not at all."""
        write_layer(self.generated_layer, {"global": {"machine": dict(facts)}} if facts else {})


def write_private(path: Path, content: bytes) -> None:
    """Writes a file of its folder by rename, for its owner alone. Raises OSError."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)


def write_layer(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a values layer by rename, for its owner alone: a package index's address may hold a password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = YAML()
    writer.default_flow_style = False
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".layer-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("# Found out about this machine by binderops; written anew by each `up`.\n")
            writer.dump(dict(values), file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
