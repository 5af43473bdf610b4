"""A release of a small chart on a real API, brought by the real commands, which are ended while Helm works."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.node_api import RunningApi

from binderops.errors import ConflictError, NotFoundError
from binderops.kube.client import Client, ObjectList
from binderops.kube.kinds import CONFIG_MAP, JOB, PERSISTENT_VOLUME_CLAIM, SECRET, Kind
from binderops.kube.objects import labels_of, name_of, uid_of

# A hook is a Job, and no controller runs here: Helm waits for it until the test says that it is complete.
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: small\nversion: 1.0.0\n",
    "values.yaml": "global: {domain: small.localhost, publicPort: 18999}\nwords: first\nhooks: []\nmore: false\n",
    "templates/settings.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {words: {{ .Values.words | quote }}}\n"
        "{{- if .Values.more }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n{{- end }}\n"
    ),
    "templates/data.yaml": (
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n"
        "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n"
        "{{- if .Values.more }}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: more}\n"
        "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n{{- end }}\n"
    ),
    "templates/hooks.yaml": (
        "{{- range .Values.hooks }}\n---\napiVersion: batch/v1\nkind: Job\n"
        "metadata: {name: {{ . }}, annotations: {helm.sh/hook: {{ . }}}}\n"
        "spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: none.invalid/none}]}}}\n"
        "{{- end }}\n"
    ),
}
PROJECT = """\
chart: small
environments:
  far:
    target: {cluster: {kubeconfig: KUBECONFIG}}
    namespace: NAMESPACE
    timeout: TIMEOUT
    layers: [values.yaml]
"""


@dataclass
class Small:
    """The repository of the small chart, and what is there of its release."""

    root: Path
    api: RunningApi
    namespace: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def write(self, *, timeout: int = 600, **values: Any) -> None:
        """The values that the next command brings, and the seconds that it may take."""
        for name, text in CHART.items():
            path = self.root / "small" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        project = PROJECT.replace("KUBECONFIG", str(self.api.kubeconfig)).replace("TIMEOUT", str(timeout))
        (self.root / "binderops.yaml").write_text(project.replace("NAMESPACE", self.namespace))
        (self.root / "values.yaml").write_text(json.dumps(values))

    def begin(self, *command: str) -> Command:
        """A command of binderops on the environment, begun."""
        log = self.root / f"told-{len(self.running)}"
        with log.open("wb") as told:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name("binderops")), *command, "far", "--directory", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                env=os.environ | {"BINDEROPS_STATE": str(self.root / "state"), "COLUMNS": "200"},
                # pytest may have been begun with it ignored, as shells do with what runs in the background.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )
        self.running.append(process)
        return Command(process, log)

    def bring(self) -> str:
        """`deploy` until its release is there; its words. It is ended then: a small chart serves no launches."""
        command = self.begin("deploy")
        told = command.until("✓ release")
        command.end(signal.SIGINT)
        assert "✓ release" in told, told
        return told

    def history(self) -> list[tuple[int, str]]:
        """Revision and status of each of Helm's records, oldest first."""
        found = [labels_of(secret) for secret in self.list(SECRET, "owner=helm")]
        return sorted((int(labels["version"]), labels["status"]) for labels in found)

    def words(self) -> str:
        """What the release's ConfigMap says."""
        return str(self.get(CONFIG_MAP, "settings")["data"]["words"])

    def hook_runs(self, name: str, *, but: str = "") -> bool:
        """Whether Helm waits for a hook, other than the one with the uid `but`."""
        return any(name_of(job) == name and uid_of(job) != but for job in self.list(JOB))

    def complete(self, name: str) -> None:
        """A hook is done: Helm goes on."""
        conditions = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
        now = "2026-11-30T12:00:00Z"
        status = {"conditions": conditions, "succeeded": 1, "startTime": now, "completionTime": now}
        asked(
            self.api, lambda client: client.patch(JOB, name, self.namespace, {"status": status}, subresource="status")
        )

    def get(self, kind: Kind, name: str) -> dict[str, Any]:
        """An object of the release's namespace."""
        found: dict[str, Any] = asked(self.api, lambda client: client.get(kind, name, self.namespace))
        return found

    def list(self, kind: Kind, labels: str | None = None) -> list[dict[str, Any]]:
        """All of a kind there."""
        found: ObjectList = asked(self.api, lambda client: client.list(kind, self.namespace, labels=labels))
        return found.items


@dataclass
class Command:
    """A command that was begun, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def told(self) -> str:
        """All that it has said."""
        return self.log.read_text(errors="replace")

    def until(self, words: str) -> str:
        """Waits until it has said these words, or has ended; all that it has said."""
        until(lambda: words in self.told() or self.process.poll() is not None, f"{words!r}")
        return self.told()

    def end(self, number: signal.Signals) -> None:
        """Ends it by a signal."""
        self.process.send_signal(number)
        self.process.wait(30)


def until(holds: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Waits for what other processes do."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


def asked(api: RunningApi, question: Callable[[Client], Any]) -> Any:
    """What the API's administrator gets for a question."""

    async def ask() -> Any:
        async with Client.from_kubeconfig(api.kubeconfig) as client:
            return await question(client)

    return asyncio.run(ask())


@contextmanager
def small_release(root: Path, api: RunningApi) -> Iterator[Small]:
    """The small chart's repository and a namespace of its own, with claims bound as a volume controller does it."""
    found = Small(root, api, "t-" + secrets.token_hex(4))
    ended = threading.Event()
    binder = threading.Thread(target=_bind_claims, args=(found, ended))
    binder.start()
    try:
        yield found
    finally:
        ended.set()
        for process in found.running:
            if process.poll() is None:
                process.kill()
                process.wait(30)
        binder.join(30)


def _bind_claims(small: Small, ended: threading.Event) -> None:
    async def bind(client: Client) -> None:
        for claim in (await client.list(PERSISTENT_VOLUME_CLAIM, small.namespace)).items:
            if claim.get("status", {}).get("phase") != "Bound":
                with contextlib.suppress(NotFoundError, ConflictError):
                    await client.replace_status({**claim, "status": {"phase": "Bound"}})

    while not ended.wait(0.5):
        asked(small.api, bind)
