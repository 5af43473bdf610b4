"""The controller's program against a real API and an ACME server; hosts lead straight to its solver."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from tests.lego.pebble import free_port
from tests.lego.warm import Program, Warm

from binderops.errors import NotFoundError
from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.kube.kinds import EVENT, INGRESS, NAMESPACE, SECRET, Object
from binderops.kube.objects import annotations_of
from binderops.lego.pairs import Pair, is_address, read_pair

ADDRESS = "10.255.0.1"  # the solver's, for EndpointSlices; nobody connects to it here


def ingress(name: str, namespace: str, *blocks: tuple[str, Iterable[str]], **annotations: str) -> Object:
    """An Ingress with `spec.tls` elements (Secret, hosts), and `kubernetes.io/tls-acme` unless annotations say else."""
    named = {host for _, block in blocks for host in block}
    hosts = sorted(host for host in named if not host.startswith("*") and not is_address(host))
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    told = {key.replace("__", "/").replace("_", "-"): value for key, value in annotations.items()}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace, "annotations": told or {names.TLS_ACME: "true"}},
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"secretName": secret, "hosts": list(block)} for secret, block in blocks],
            "rules": [{"host": host, "http": {"paths": [path]}} for host in hosts] or [{"http": {"paths": [path]}}],
        },
    }


class World:
    """One namespace, one controller."""

    def __init__(self, client: Client, kubeconfig: Path, folder: Path, warm: Warm) -> None:
        self.client, self.kubeconfig, self.folder = client, kubeconfig, folder
        self.warm: Warm | None = warm  # None: started as a pod starts it, imports and all
        self.namespace = "t-lego-" + secrets.token_hex(4)
        self.port = free_port()
        self.solver_address, self.self_check_port = ADDRESS, 0  # 0: the solver's own
        self.self_check_passes = 1  # 0: the program's own; nothing is late where hosts lead straight to the solver
        self.everywhere = False  # or this world's namespace alone
        self.server = ""
        self.ca: Path | None = None
        self.issuers: dict[str, Any] = {}
        self.arguments: list[str] = []
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | Program | None = None

    async def make(self) -> None:
        await self.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})

    async def remove(self) -> None:
        self.stop(signal.SIGKILL)
        # Nobody here empties a namespace, and a controller of all namespaces must not meet what is left.
        for found in (await self.client.list(INGRESS, self.namespace)).items:
            await self.client.delete(INGRESS, found["metadata"]["name"], self.namespace)
        await self.client.delete(NAMESPACE, self.namespace)

    def start(self, name: str = "kube-lego-0") -> subprocess.Popen[bytes] | Program:
        """Start the program as the pod `name` (one process; more by calling it again with another port)."""
        file = self.folder / "issuers.yaml"
        file.write_text(yaml.safe_dump(self.issuers))
        arguments = ["--kubeconfig", str(self.kubeconfig), "--issuers", str(file)]
        arguments += [
            *([] if self.everywhere else ["--watch-namespace", self.namespace]),
            "--solver-address",
            self.solver_address,
            *(["--self-check-passes", str(self.self_check_passes)] if self.self_check_passes else []),
        ]
        arguments += ["--self-check-address", f"127.0.0.1:{self.self_check_port or self.port}", *self.arguments]
        told = {"LEGO_URL": self.server, "LEGO_EMAIL": "admin@example.org", "LEGO_PORT": str(self.port)}
        told |= {"POD_NAME": name, "POD_NAMESPACE": self.namespace, "LEGO_LOG_LEVEL": "debug"}
        if self.ca is not None:
            told["REQUESTS_CA_BUNDLE"] = str(self.ca)
        environment, file = {**os.environ, **told, **self.environment}, self.folder / "lego.log"
        if self.warm is not None:
            self.process = self.warm.start(arguments, environment, file)
            return self.process
        command = [sys.executable, "-m", "binderops.lego", *arguments]
        with file.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self.process

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def log(self) -> str:
        file = self.folder / "lego.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def memory(self) -> int:
        """Resident memory of the program, in MB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    async def secret(self, name: str) -> Object | None:
        try:
            return await self.client.get(SECRET, name, self.namespace)
        except NotFoundError:
            return None

    async def secrets(self, component: str) -> list[Object]:
        labels = f"{names.MANAGED_BY}={names.KUBE_LEGO},{names.COMPONENT}={component}"
        return (await self.client.list(SECRET, self.namespace, labels=labels)).items

    async def issued(self, name: str, *, seconds: float = 30, besides: int = 0) -> Pair:
        """The pair of a Secret that is no placeholder; `besides`: the serial number of the one before."""

        async def done() -> Pair | None:
            secret = await self.secret(name)
            if secret is None or names.PLACEHOLDER in annotations_of(secret):
                return None
            pair = pair_in(secret)
            return pair if pair.leaf.serial_number != besides else None

        found: Pair = await self.until(done, seconds=seconds)
        return found

    async def until(self, condition: Callable[[], Any], *, seconds: float = 20) -> Any:
        """What a coroutine function gives once it is true."""
        deadline = time.monotonic() + seconds
        while True:
            found = await condition()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not come in {seconds} s; the controller's log:\n{self.log()[-6000:]}")
            await asyncio.sleep(0.05)

    async def events(self, reason: str | None = None) -> list[str]:
        found = (await self.client.list(EVENT, self.namespace)).items
        return [event["message"] for event in found if reason is None or event["reason"] == reason]

    async def event(self, reason: str, part: str = "", *, seconds: float = 20) -> str:
        """An Event's message with that reason, and that text in it."""

        async def told() -> list[str]:
            return [message for message in await self.events(reason) if part in message]

        found: list[str] = await self.until(told, seconds=seconds)
        return found[0]

    async def annotations(self, name: str) -> dict[str, str]:
        secret = await self.secret(name)
        return annotations_of(secret) if secret else {}

    async def annotate_secret(self, name: str, **annotations: str | None) -> None:
        """Annotations by the names of kube.certificates."""
        body = {"metadata": {"annotations": {getattr(names, key): value for key, value in annotations.items()}}}
        await self.client.patch(SECRET, name, self.namespace, body)

    async def leftovers(self) -> list[Object]:
        """Paths to the solver that still stand."""
        labels = f"{names.COMPONENT}=solver"
        return (await self.client.list(INGRESS, self.namespace, labels=labels)).items


def pair_in(secret: Object) -> Pair:
    return read_pair(*(base64.b64decode(secret["data"][key]) for key in ("tls.crt", "tls.key")))
