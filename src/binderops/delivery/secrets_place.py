"""Where an action on secrets works: one environment of one repository, its sealed file, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from binderops.helm.rendering import merged_values
from binderops.secrets.demonstration import refuse_elsewhere
from binderops.secrets.formats import is_secret_path
from binderops.secrets.generating import Needed, needed_secrets
from binderops.secrets.places import environment_file, name_of
from binderops.secrets.sealed import SealedFile, read_sealed
from binderops.state.chart import pack_chart
from binderops.state.layers import read_layers
from binderops.state.project import Project


@dataclass(frozen=True)
class SecretsPlace:
    """One environment's secrets."""

    root: Path
    project: Project
    environment: str

    @property
    def file(self) -> Path:
        """`secret/config/ENV.yaml`, whether or not it is there."""
        return environment_file(self.root, self.environment)

    @property
    def name(self) -> str:
        """The file as rules and messages have it."""
        return name_of(self.root, self.file)

    @property
    def on_this_machine(self) -> bool:
        """Whether the environment's target is."""
        return self.project.environment(self.environment).target.node is not None

    def sealed(self) -> SealedFile:
        """The file without a key; refused where a demonstration key reads it and the target is elsewhere."""
        found = read_sealed(self.file, name=self.name)
        refuse_elsewhere(found, on_this_machine=self.on_this_machine)
        return found

    @cached_property
    def clear_values(self) -> Mapping[str, Any]:
        """The chart's defaults with the environment's clear layers over them: what is enabled."""
        patterns = [one for one in self.project.environment(self.environment).layers if not is_secret_path(one)]
        layers = read_layers(self.root, patterns, owner=self.environment)
        return merged_values(pack_chart(self.root, self.project.chart).content, layers.merged)

    @cached_property
    def needed(self) -> tuple[Needed, ...]:
        """The secrets that its enabled components need."""
        return needed_secrets(self.clear_values)

    def purpose(self, path: tuple[str, ...]) -> Needed | None:
        """What a key is for, where the charts know it."""
        names = tuple(part for part in path if not part.startswith("#") and not part.isdigit())
        return next((needed for needed in self.needed if needed.path == names), None)
