"""A Kubernetes cluster as a target: it is reached, never made, stopped or removed."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binderops.errors import TargetError
from binderops.kube.client import Client
from binderops.target.protocol import Access, Ensured, Health, Report


@dataclass(frozen=True)
class ClusterTarget:
    """A context of a kubeconfig file ($KUBECONFIG, else ~/.kube/config, unless named)."""

    context: str
    kubeconfig: Path

    async def examine(self, *, ports: tuple[int, ...], report: Report) -> str:
        """The cluster's own machines are not ours to look at: only that its API answers."""
        report("asking the cluster")
        return f"cluster {self.context}, {(await self._version()).get('gitVersion', 'unknown version')}"

    async def ensure(self, *, report: Report) -> Ensured:
        """A cluster is there or it is not."""
        started = time.monotonic()
        version = await self._version()
        return Ensured(f"cluster {self.context} {version.get('gitVersion')}", False, time.monotonic() - started)

    def facts(self) -> dict[str, Any]:
        """Nothing is found out about a cluster."""
        return {}

    def access(self) -> Access:
        """The kubeconfig and its context."""
        if not self.kubeconfig.exists():
            raise TargetError("there is no kubeconfig", where=str(self.kubeconfig), hint="set KUBECONFIG")
        return Access(self.kubeconfig, self.context)

    async def health(self) -> Health:
        """Whether the API answers."""
        try:
            version = await self._version()
        except TargetError as error:
            return Health(running=False, summary=error.what)
        return Health(running=True, summary=f"{self.context} answers", details={"version": version.get("gitVersion")})

    async def stop(self, *, report: Report) -> None:
        """Others run there: the cluster stays as it is."""
        report("a cluster is not stopped")

    async def remove(self, *, report: Report) -> list[str]:
        """The release is removed by its uninstall; the cluster is not ours."""
        return [f"cluster {self.context}: stays, with its namespaces"]

    async def _version(self) -> dict[str, Any]:
        access = self.access()
        try:
            async with asyncio.timeout(15), Client.from_kubeconfig(access.kubeconfig, context=self.context) as client:
                return await client.request("GET", "/version")
        except Exception as error:
            raise TargetError(
                f"the cluster {self.context} does not answer", where=str(access.kubeconfig), why=str(error)
            ) from None


def default_kubeconfig() -> Path:
    """$KUBECONFIG's first entry, else ~/.kube/config."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"
