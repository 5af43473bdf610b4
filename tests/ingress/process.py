"""The controller as its pod runs it: the program, with the chart's rights, against a real API, on loopback ports."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml
from tests.ingress.authority import Authority
from tests.ingress.echoing import Echo, echo_server
from tests.ingress.ports import free_port
from tests.node_api import RunningApi

from binderops.errors import NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import EVENT, INGRESS, SERVICE

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/nginx-ingress"
SECONDS = 20.0
PUBLISHED = "192.0.2.1"
RBAC = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "IngressClass"}
Object = dict[str, Any]


class Controller:
    """One process of the controller, and its nginx."""

    def __init__(self, folder: Path, kubeconfig: Path, namespace: str) -> None:
        self.folder, self.namespace = folder, namespace
        self.http, self.https, self.health, self.metrics = (free_port() for _ in range(4))
        self._kubeconfig = kubeconfig
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str, path: str | None = None) -> None:
        """Starts it; `path` is its PATH."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "binderops.ingress", "--kubeconfig", str(self._kubeconfig)]
        ports = {"http": self.http, "https": self.https, "health": self.health, "metrics": self.metrics}
        command += [f"--{name}-port={port}" for name, port in ports.items()]
        command += [f"--public-tls-port={self.https}", f"--folder={self.folder / 'nginx'}"]
        command += [f"--publish-service={self.namespace}/public", f"--configmap={self.namespace}/settings", *more]
        environment = {"PATH": path or "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT / "src")}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    async def ready(self) -> None:
        """Until /healthz answers."""
        await eventually(self.is_healthy, self.log)

    async def is_healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return (await self.get_health("/healthz")).status_code == 200
        except httpx2.TransportError:
            return False

    async def get_health(self, path: str) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await client.get(f"http://127.0.0.1:{self.health}{path}")

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def nginx(self) -> int:
        """The process id of nginx's master."""
        return int((self.folder / "nginx/nginx.pid").read_text())

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, SECONDS + 20)


class LoopbackTarget:
    """A place where Ingresses are served: this controller, with echo servers on loopback and EndpointSlices by hand."""

    def __init__(self, client: Client, controller: Controller, authority: Authority, stack: AsyncExitStack) -> None:
        self.client, self.controller, self.authority = client, controller, authority
        self.addresses: list[Object] = [{"ip": PUBLISHED}]
        self.namespace = controller.namespace
        self._stack = stack
        self._served = 0

    async def apply(self, obj: Object) -> Object:
        """Creates or changes an object in the target's namespace."""
        obj = {**obj, "metadata": {"namespace": self.namespace, **obj["metadata"]}}
        return await self.client.apply(obj, force=True)

    async def delete_ingresses(self) -> None:
        for found in (await self.client.list(INGRESS, self.namespace)).items:
            await self.client.delete(INGRESS, found["metadata"]["name"], self.namespace)

    async def echo(self, service: str, count: int = 1) -> list[Echo]:
        """A Service (port 8080, named http) with `count` echo servers behind it, each with a name of its own."""
        self._served += 1
        port, echoes = free_port(), []
        addresses = [f"127.1.{self._served}.{number + 1}" for number in range(count)]
        for number, address in enumerate(addresses):
            server = echo_server(f"{service}-{number}", address=address, port=port)
            echoes.append(await self._stack.enter_async_context(server))
        ports = [{"name": "http", "port": 8080, "targetPort": port}]
        await self.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service}, "spec": {"ports": ports}}
        )
        labels = {"kubernetes.io/service-name": service}
        await self.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": service, "labels": labels},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            }
        )
        return echoes

    async def send(self, url: str, method: str = "GET") -> httpx2.Response:
        """A request as if the URL's host were the target's address; https is verified against the tests' authority."""
        wanted = httpx2.URL(url)
        port = self.controller.https if wanted.scheme == "https" else self.controller.http
        address = wanted.copy_with(host="127.0.0.1", port=port)
        async with httpx2.AsyncClient(trust_env=False, verify=self.authority.trust(), timeout=10) as client:
            request = client.build_request(method, address, headers={"host": wanted.host})
            request.extensions["sni_hostname"] = wanted.host
            return await client.send(request)

    def log(self) -> str:
        return self.controller.log()

    async def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of the Events about an object."""
        found = (await self.client.list(EVENT, self.namespace)).items
        about = [event for event in found if _about(event) == name]
        return [(str(event["reason"]), str(event.get("message") or event.get("note"))) for event in about]

    async def address_of(self, ingress: str) -> list[Object]:
        """status.loadBalancer.ingress."""
        try:
            found = await self.client.get(INGRESS, ingress, self.namespace)
        except NotFoundError:
            return []
        return list(((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [])


def _about(event: Object) -> str:
    return str((event.get("involvedObject") or event.get("regarding") or {}).get("name"))


async def eventually(true: Callable[[], Any], explain: Callable[[], str] = str, seconds: float = SECONDS) -> None:
    """Waits until an async condition holds."""
    try:
        async with asyncio.timeout(seconds):
            while not await true():
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"it did not come about within {seconds} s\n{explain()}") from None


@asynccontextmanager
async def loopback_target(
    folder: Path, running: RunningApi, helm: Path, authority: Authority, *, namespace: str, start: bool = True
) -> AsyncIterator[LoopbackTarget]:
    """A target whose controller runs with the rights that the chart gives it, and no others."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client.from_kubeconfig(running.kubeconfig))
        await client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        account = await _rights(client, helm, namespace)
        kubeconfig = await _kubeconfig(client, running, namespace, account, folder)
        controller = Controller(folder / "controller", kubeconfig, namespace)
        target = LoopbackTarget(client, controller, authority, stack)
        await _publish(target)
        stack.push_async_callback(_end, controller)
        if start:
            controller.start()
            await controller.ready()
        yield target


async def _end(controller: Controller) -> None:
    if controller.process is not None:
        await controller.stop()


async def _rights(client: Client, helm: Path, namespace: str) -> str:
    command = [str(helm), "template", namespace, str(CHART), "-n", namespace, "--set", "global.images.platform.name=x"]
    rendered = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=60)
    account = ""
    for obj in yaml.safe_load_all(rendered.stdout):
        if obj and obj["kind"] in RBAC:
            if not obj["kind"].startswith("Cluster") and obj["kind"] != "IngressClass":
                obj["metadata"].setdefault("namespace", namespace)
            await client.apply(obj, force=True)
            account = obj["metadata"]["name"] if obj["kind"] == "ServiceAccount" else account
    return account


async def _kubeconfig(client: Client, running: RunningApi, namespace: str, account: str, folder: Path) -> Path:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = (await client.request("POST", path, json=asked))["status"]["token"]
    config = yaml.safe_load(running.kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "kubeconfig"
    target.write_text(yaml.safe_dump(config))
    return target


async def _publish(target: LoopbackTarget) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}]}
    await target.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "public"}, "spec": spec})
    status = {"status": {"loadBalancer": {"ingress": [{"ip": PUBLISHED}]}}}
    await target.client.patch(SERVICE, "public", target.namespace, status, subresource="status")
