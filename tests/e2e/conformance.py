"""A deployment as the target of the conformance table: Ingresses beside the release's own, and pods that answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from tests.ingress.authority import Authority
from tests.ingress.conformance.scenarios import SCENARIOS
from tests.ingress.process import eventually

from binderops.errors import NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import DEPLOYMENT, INGRESS, POD, SECRET, SERVICE, Kind
from binderops.kube.objects import condition

Object = dict[str, Any]

PODS = 10
SECONDS = 60.0
FIRST_PORT = 9000
SERVICES = [*dict.fromkeys(name for scenario in SCENARIOS.values() for name in scenario.services), "ten"]
"""Each is a port of every pod: what answers there bears its name."""
_LABELS = {"app": "conformance-echo"}
_ECHO = """\
import http.server, json, os, sys, threading
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        name = NAMES[self.server.server_address[1]] + "-" + os.environ["HOSTNAME"].rpartition("-")[2]
        body = json.dumps({"name": name}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer
NAMES = {int(port): name for port, name in json.loads(sys.argv[1]).items()}
servers = [http.server.ThreadingHTTPServer(("", port), Echo) for port in NAMES]
threads = [threading.Thread(target=server.serve_forever) for server in servers]
for thread in threads:
    thread.start()
"""


class DeploymentTarget:
    """The ingress controller of a release that serves https on `tls_port` of 127.0.0.1."""

    def __init__(self, client: Client, namespace: str, *, port: int, tls_port: int, addresses: Sequence[str]) -> None:
        self.client, self.namespace, self.authority = client, namespace, Authority()
        self.addresses: list[Object] = [{"ip": address} for address in addresses]
        self._ports = {"http": port, "https": tls_port}
        self._made: list[tuple[Kind, str]] = []

    async def start(self, image: str) -> None:
        """Pods that answer for every Service of the table, from an image that has a Python."""
        names = json.dumps({FIRST_PORT + number: name for number, name in enumerate(SERVICES)})
        probe = {"tcpSocket": {"port": FIRST_PORT + len(SERVICES) - 1}, "periodSeconds": 1}  # the last one it binds
        container = {"name": "echo", "image": image, "imagePullPolicy": "Never", "readinessProbe": probe}
        container["command"] = ["python", "-c", _ECHO, names]
        pod = {"metadata": {"labels": _LABELS}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
        spec = {"replicas": PODS, "selector": {"matchLabels": _LABELS}, "template": pod}
        await self.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "echo"}, "spec": spec})

        async def ready() -> bool:
            pods = (await self.client.list(POD, self.namespace, labels=f"app={_LABELS['app']}")).items
            return len([each for each in pods if (condition(each, "Ready") or {}).get("status") == "True"]) == PODS

        await eventually(ready, seconds=SECONDS)

    async def apply(self, obj: Object) -> Object:
        kinds = {"Deployment": DEPLOYMENT, "Ingress": INGRESS, "Secret": SECRET, "Service": SERVICE}
        self._made.append((kinds[obj["kind"]], obj["metadata"]["name"]))
        return await self.client.apply(
            {**obj, "metadata": {**obj["metadata"], "namespace": self.namespace}}, force=True
        )

    async def echo(self, service: str, count: int = 1) -> None:
        assert count <= PODS
        ports = [{"name": "http", "port": 8080, "targetPort": FIRST_PORT + SERVICES.index(service)}]
        metadata, spec = {"name": service}, {"ports": ports, "selector": _LABELS}
        await self.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})

    async def send(self, url: str, method: str = "GET") -> httpx2.Response:
        wanted = httpx2.URL(url)
        address = wanted.copy_with(host="127.0.0.1", port=self._ports[wanted.scheme])
        async with httpx2.AsyncClient(trust_env=False, verify=self.authority.trust(), timeout=10) as client:
            request = client.build_request(method, address, headers={"host": wanted.host})
            request.extensions["sni_hostname"] = wanted.host
            return await client.send(request)

    async def address_of(self, ingress: str) -> list[Object]:
        try:
            found = await self.client.get(INGRESS, ingress, self.namespace)
        except NotFoundError:
            return []
        return list(((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [])

    def log(self) -> str:
        return "binderops logs ingress"

    async def remove(self, *kinds: Kind) -> None:
        """What was made, of these kinds."""
        for kind, name in dict.fromkeys(made for made in self._made if made[0] in kinds):
            await self.client.delete(kind, name, self.namespace)
        self._made = [made for made in self._made if made[0] not in kinds]


@asynccontextmanager
async def deployment_target(kubeconfig: Path, namespace: str, **settings: Any) -> AsyncIterator[DeploymentTarget]:
    """A target beside a release; nothing of it is left there."""
    async with Client.from_kubeconfig(kubeconfig) as client:
        target = DeploymentTarget(client, namespace, **settings)
        deployment = next(
            each
            for each in (await client.list(DEPLOYMENT, namespace)).items
            if "nginx-ingress" in each["metadata"]["name"]
        )
        try:
            await target.start(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
            yield target
        finally:
            await target.remove(INGRESS, SECRET, SERVICE, DEPLOYMENT)
