"""A Kubernetes cluster as a target: it is reached, never made, stopped or removed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from binderops.errors import BinderOpsError, TargetError
from binderops.kube.client import Client
from binderops.target.protocol import Access, Ensured, Health, Report

Open = Callable[[], Mapping[str, Any]]
"""Opens a sealed kubeconfig, in memory; raises SecretsError."""


@dataclass(frozen=True)
class ClusterTarget:
    """A context (None: the current one) of a kubeconfig: a file, or a sealed one that `opener` opens when needed."""

    context: str | None
    kubeconfig: Path
    opener: Open | None = field(default=None, repr=False)

    async def examine(self, *, ports: tuple[int, ...], report: Report) -> str:
        """The cluster's own machines are not ours to look at: only that its API answers."""
        report("asking the cluster")
        return f"{self._words}, {(await self._version()).get('gitVersion', 'unknown version')}"

    async def ensure(self, *, report: Report) -> Ensured:
        """A cluster is there or it is not."""
        started = time.monotonic()
        version = await self._version()
        return Ensured(f"{self._words} {version.get('gitVersion')}", False, time.monotonic() - started)

    def facts(self) -> dict[str, Any]:
        """Nothing is found out about a cluster."""
        return {}

    def access(self) -> Access:
        """The kubeconfig, or the content of a sealed one, and its context."""
        if self.opener is not None:
            return Access(self._opened, self.context)
        if not self.kubeconfig.exists():
            raise TargetError("there is no kubeconfig", where=str(self.kubeconfig), hint="set KUBECONFIG")
        return Access(self.kubeconfig, self.context)

    async def health(self) -> Health:
        """Whether the API answers."""
        try:
            version = await self._version()
        except BinderOpsError as error:
            return Health(running=False, summary=error.what)
        return Health(running=True, summary=f"{self._words} answers", details={"version": version.get("gitVersion")})

    async def stop(self, *, report: Report) -> None:
        """Others run there: the cluster stays as it is."""
        report("a cluster is not stopped")

    async def remove(self, *, report: Report) -> list[str]:
        """The release is removed by its uninstall; the cluster is not ours."""
        return [f"{self._words}: stays, with its namespaces"]

    @property
    def _words(self) -> str:
        return f"cluster {self.context or self.kubeconfig.name}"

    @cached_property
    def _opened(self) -> Mapping[str, Any]:
        assert self.opener is not None
        return self.opener()

    async def _version(self) -> dict[str, Any]:
        access = self.access()
        try:
            async with asyncio.timeout(15), Client.from_kubeconfig(access.kubeconfig, context=self.context) as client:
                return await client.request("GET", "/version")
        except Exception as error:
            raise TargetError(
                f"{self._words} does not answer", where=str(self.kubeconfig), why=f"{type(error).__name__}: {error}"
            ) from None


def default_kubeconfig() -> Path:
    """$KUBECONFIG's first entry, else ~/.kube/config."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"
