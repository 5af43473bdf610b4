"""Helm's actions on a cluster: deploy (install or upgrade), history, status, rollback, uninstall, test."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from binderops.errors import HelmError
from binderops.helm.storage import CUT_LABEL

KEPT_REVISIONS = 20
"""Older ones go when a release is upgraded: each is a Secret that holds the whole chart."""
_SURPLUS = 5.0  # seconds that the child may overrun the timeout it was given before it is killed
# Helm's SDK takes the name of its program as the field manager of all that it applies. Under another name than the helm
# program's, an upgrade or rollback by that program would end in conflicts. The path beside it is how Python finds its
# environment.
_PROGRAM = str(Path(sys.executable).with_name("helm"))


class Release(BaseModel):
    """One revision of a release, as Helm tells it."""

    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str = ""
    revision: int
    status: str
    chart: str = ""
    labels: dict[str, str] = {}
    updated: str = ""
    manifest: str = ""


@dataclass(frozen=True)
class ReleaseDoor:
    """The releases of one namespace of one cluster, behind a kubeconfig: a file, or its content, never written."""

    kubeconfig: Path | Mapping[str, Any] = field(repr=False)
    namespace: str
    context: str | None = None

    async def deploy(
        self,
        release: str,
        *,
        chart: bytes,
        values: Mapping[str, Any],
        timeout: float,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Release:
        """Installs the release, or upgrades it; does not wait for readiness. `timeout` in seconds covers hooks too."""
        install = not [entry for entry in await self.history(release, timeout=30) if entry.status != "uninstalled"]
        # Helm hands labels on from one revision to the next; "null" takes one away.
        own = dict(labels or {}) | ({} if install else {CUT_LABEL: "null"})
        answer = await self._call(
            "deploy",
            release,
            timeout=timeout,
            install=install,
            max_history=KEPT_REVISIONS,
            chart=base64.b64encode(chart).decode(),
            values=dict(values),
            description=description,
            labels=own,
        )
        return _release(answer)

    async def history(self, release: str, *, timeout: float = 30) -> list[Release]:
        """Every revision, oldest first; empty where there is no such release."""
        try:
            answer = await self._call("history", release, timeout=timeout)
        except HelmError as error:
            if error.why and "not found" in error.why:
                return []
            raise
        return [_release(entry) for entry in answer or []]

    async def status(self, release: str, *, revision: int | None = None, timeout: float = 30) -> Release:
        """One revision (None: the newest) with its manifest."""
        return _release(await self._call("status", release, timeout=timeout, revision=revision))

    async def values(self, release: str, *, revision: int | None = None, timeout: float = 30) -> dict[str, Any]:
        """The computed values of one revision: the chart's defaults with the layers over them, secrets opened."""
        answer = await self._call("values", release, timeout=timeout, revision=revision)
        return dict(answer or {})

    async def rollback(self, release: str, *, revision: int, timeout: float) -> None:
        """Goes back to a revision by Helm's own history."""
        await self._call("rollback", release, timeout=timeout, revision=revision)

    async def uninstall(self, release: str, *, timeout: float) -> None:
        """Removes the release; none there is no error."""
        await self._call("uninstall", release, timeout=timeout)

    async def _call(self, action: str, release: str, *, timeout: float, **more: Any) -> Any:
        request = {
            "action": action,
            "parent": os.getpid(),
            "kubeconfig": str(self.kubeconfig) if isinstance(self.kubeconfig, Path) else self.kubeconfig,
            "context": self.context,
            "namespace": self.namespace,
            "release": release,
            "timeout": int(timeout),
            **more,
        }
        process = await asyncio.create_subprocess_exec(
            _PROGRAM,
            "-m",
            "binderops.helm.child",
            executable=sys.executable,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout + _SURPLUS):
                output, errors = await process.communicate(json.dumps(request).encode())
        except TimeoutError:
            raise HelmError(
                f"helm {action} of {release} did not end within {timeout:.0f} s",
                where=f"namespace {self.namespace}",
                why="the Kubernetes API, or a hook of the chart, did not answer in time; Helm was stopped",
                hint="look at `binderops status`, then run the command again",
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return self._answer(action, release, output, errors)

    def _answer(self, action: str, release: str, output: bytes, errors: bytes) -> Any:
        where = f"release {release} in namespace {self.namespace}"
        try:
            answer = json.loads(output)
        except ValueError:
            tail = errors.decode(errors="replace").strip().splitlines()[-3:]
            raise HelmError(f"helm {action} broke off", where=where, why=" / ".join(tail) or "no output") from None
        if "error" in answer:
            raise HelmError(f"helm {action} failed", where=where, why=str(answer["error"]["message"]))
        return answer["result"]


def _release(answer: Any) -> Release:
    info = answer.get("info") or {}
    return Release.model_validate(
        {
            **answer,
            "revision": answer.get("revision", answer.get("version", 0)),
            "status": answer.get("status") or info.get("status", ""),
            "chart": f"{answer.get('chart_name', '')}-{answer.get('chart_version', '')}",
            "updated": str(answer.get("deployed_at", "")),
            "labels": answer.get("labels") or {},
        }
    )


def _environment() -> dict[str, str]:
    # The child gets what Helm needs and no more: a variable such as KUBECONFIG would change its target.
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {key: os.environ[key] for key in kept if key in os.environ} | {"NO_PROXY": "*"}
