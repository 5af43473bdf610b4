"""What a place to run must offer. Nothing above it knows whether a machine or a cluster is behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Report = Callable[[str], None]
"""Told in a few words what is being done or waited for; called often."""


@dataclass(frozen=True)
class Access:
    """How to reach the target's Kubernetes API: a kubeconfig file, or the content of one that is sealed."""

    kubeconfig: Path | Mapping[str, Any] = field(repr=False)
    context: str | None = None


@dataclass(frozen=True)
class Ensured:
    """What `ensure` found or made: words for people (`summary`), and whether it had to be started."""

    summary: str
    started: bool
    seconds: float


@dataclass(frozen=True)
class Health:
    """Whether the target answers, with words and figures for `status`; `made` is whether it was ever started."""

    running: bool
    summary: str
    made: bool = True
    details: dict[str, Any] = field(default_factory=dict)


class Target(Protocol):
    """A place to run. Every call is idempotent, has a deadline, and raises MachineError or TargetError."""

    async def examine(self, *, ports: tuple[int, ...], report: Report) -> str:
        """Looks whether this place can do it, before anything is changed; answers with words for people."""

    async def ensure(self, *, report: Report) -> Ensured:
        """Makes the target run."""

    def facts(self) -> dict[str, Any]:
        """What the target knows about its place, as a values layer (`global.machine`); empty on a cluster."""

    def access(self) -> Access:
        """How to reach its API; raises TargetError where there is none yet."""

    async def health(self) -> Health:
        """Whether it answers now; never raises."""

    async def stop(self, *, report: Report) -> None:
        """Stops everything that runs, keeps all data. On a cluster: nothing, since others run there."""

    async def remove(self, *, report: Report) -> list[str]:
        """Removes everything that was started or made; answers with what stays, a line each."""
