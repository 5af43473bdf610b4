"""A small node in the real kernel: objects are dictionaries that a test puts into the view, everything else is real."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from binderops.node.config import NodeConfig
from binderops.node.network import Attachment, PodNetwork, ensure_base, teardown
from binderops.node.network.keeper import Keeper
from binderops.node.network.loadbalancers import LoadBalancers
from binderops.node.network.view import ClusterView

Object = dict[str, Any]

_SERVER = """
import http.server, socketserver, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{sys.argv[1]} {self.client_address[0]} {self.server.server_address[1]}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(f"{sys.argv[1]} {self.client_address[0]}".encode(), self.client_address)
servers = [Server(("0.0.0.0", int(port)), Handler) for port in sys.argv[2:]]
servers.append(socketserver.UDPServer(("0.0.0.0", 5353), Echo))
for server in servers: threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""

_CLIENT = """
import errno, json, socket, sys
kind, address, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
answers = []
if kind == "udp":
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2); s.bind(("", int(sys.argv[5]))); s.connect((address, port))
for _ in range(count):
    try:
        if kind == "udp":
            s.send(b"x"); answers.append(s.recv(500).decode())
        else:
            with socket.create_connection((address, port), 2) as c:
                c.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
                data = b""
                while part := c.recv(65536): data += part
            answers.append(data.split(b"\\r\\n\\r\\n", 1)[1].decode())
    except OSError as error:
        answers.append("error " + (errno.errorcode[error.errno] if error.errno else type(error).__name__))
print(json.dumps(answers))
"""


@dataclass
class Pod:
    """A pod of a test: its object, its network, and the server in it."""

    object: Object
    attachment: Attachment
    server: subprocess.Popen[str] | None = None

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def address(self) -> str:
        return self.attachment.address

    @property
    def uid(self) -> str:
        return str(self.object["metadata"]["uid"])


@dataclass
class FakeApi:
    """The API's side of publishing: keeps patches and Events, and writes statuses."""

    services: dict[tuple[str, str], Object] = field(default_factory=dict)
    patches: list[tuple[str, Any]] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)

    async def patch(
        self, kind: Any, name: str, namespace: str | None, body: Any, *, how: Any = "merge", subresource: Any = None
    ) -> Any:
        assert subresource == "status"
        ingress = body["status"]["loadBalancer"]["ingress"]
        self.patches.append((f"{namespace}/{name}", ingress))
        self.services[namespace or "", name]["status"] = {"loadBalancer": {"ingress": ingress} if ingress else {}}

    async def event(self, obj: Mapping[str, Any], reason: str, message: str, type: Any = "Normal") -> None:
        self.events.append((obj["metadata"]["name"], reason, message))


@dataclass
class Node:
    """A node without its API: `view` is what it would have seen there."""

    config: NodeConfig
    view: ClusterView = field(default_factory=ClusterView)
    api: FakeApi = field(default_factory=FakeApi)
    pods: list[Pod] = field(default_factory=list)
    objects: dict[str, dict[tuple[str, str], Object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.objects = {name: {} for name in ("namespaces", "pods", "services", "slices", "policies")}
        self.view = ClusterView(**self.objects)  # type: ignore[arg-type]
        self.api.services = self.objects["services"]
        self.network = PodNetwork(self.config)
        self.balancers = LoadBalancers(self.config, self.api, self.api)
        self.keeper = Keeper(self.config, self.view, self.network, self.balancers, self.api)
        self._addresses = itertools.count(10)

    async def sync(self) -> None:
        await self.keeper.sync()

    def put(self, kind: str, obj: Object) -> Object:
        meta = obj["metadata"]
        self.objects[kind][meta.get("namespace", ""), meta["name"]] = obj
        return obj

    def namespace(self, name: str, **labels: str) -> None:
        self.put("namespaces", {"metadata": {"name": name, "labels": labels}})

    async def pod(
        self,
        name: str,
        *,
        namespace: str = "a",
        labels: dict[str, str] | None = None,
        named_ports: dict[str, int] | None = None,
        listen: tuple[int, ...] = (),
    ) -> Pod:
        """Attach a pod; with `listen`, a server answers on these TCP ports (and UDP 5353)."""
        meta = {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "labels": labels or {}}
        ports = [{"name": key, "containerPort": value} for key, value in (named_ports or {}).items()]
        obj = self.put("pods", {"metadata": meta, "spec": {"containers": [{"name": "c", "ports": ports}]}})
        pod = Pod(obj, await self.network.attach(obj))
        self.pods.append(pod)
        if listen:
            argv = [sys.executable, "-I", "-c", _SERVER, name, *map(str, listen)]
            pod.server = await asyncio.to_thread(_start, ["ip", "netns", "exec", pod.attachment.namespace.name, *argv])
        return pod

    def service(
        self,
        name: str,
        pods: list[Pod],
        *,
        ports: list[tuple[int, int]] | None = None,
        namespace: str = "a",
        protocol: str = "TCP",
        **spec: Any,
    ) -> str:
        """Put a Service (of port → target port) and its slice; returns its ClusterIP."""
        known = self.objects["services"].get((namespace, name))
        base = self.config.service_range.rpartition(".")[0]
        address = known["spec"]["clusterIP"] if known else f"{base}.{next(self._addresses)}"
        pairs = ports or [(80, 8000)]
        entries = [{"name": f"p{port}", "port": port, "targetPort": t, "protocol": protocol} for port, t in pairs]
        node_port = spec.pop("node_port", None)
        if node_port:
            entries[0]["nodePort"] = node_port
        created = spec.pop("created", "2026-01-01T00:00:00Z")
        meta: Object = {"name": name, "namespace": namespace, "uid": name, "creationTimestamp": created}
        status = known["status"] if known else {}
        body = {"clusterIP": address, "ports": entries, **spec}
        self.put("services", {"metadata": meta, "spec": body, "status": status})
        labels = {"kubernetes.io/service-name": name}
        self.put(
            "slices",
            {
                "metadata": {"name": f"{name}-1", "namespace": namespace, "labels": labels},
                "addressType": "IPv4",
                "ports": [{"name": f"p{port}", "port": t, "protocol": protocol} for port, t in pairs],
                "endpoints": [{"addresses": [pod.address], "conditions": {"ready": True}} for pod in pods],
            },
        )
        return address

    def policy(self, name: str, *, namespace: str = "a", **spec: Any) -> None:
        spec.setdefault("podSelector", {})
        self.put("policies", {"metadata": {"name": name, "namespace": namespace}, "spec": spec})

    async def get(self, source: Pod | None, address: str, port: int, *, count: int = 1) -> list[str]:
        """What the servers answer: "POD CLIENT PORT", or "error WHY". From a pod, or from the host (None)."""
        return await _client(source, "tcp", address, port, count)

    async def udp(self, source: Pod | None, address: str, port: int, *, own_port: int = 0) -> list[str]:
        return await _client(source, "udp", address, port, 1, own_port)


async def _client(source: Pod | None, *arguments: object) -> list[str]:
    prefix = ["ip", "netns", "exec", source.attachment.namespace.name] if source else []
    argv = [*prefix, sys.executable, "-I", "-S", "-c", _CLIENT, *map(str, [*arguments, 0])]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60, check=True)
    answers: list[str] = json.loads(done.stdout)
    return answers


def _start(argv: list[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def free_ranges() -> tuple[str, str]:
    """Two ranges that no route of this machine has (tests of others run at the same time)."""
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True, timeout=10).stdout
    while True:
        second = secrets.randbelow(50) + 100
        pods, services = f"10.{second}.32.0/20", f"10.{second}.48.0/24"
        if f"10.{second}." not in routes:
            return pods, services


@pytest.fixture
def host_addresses() -> tuple[str, ...]:
    """Where LoadBalancer Services are published; overridden by tests."""
    return ("127.0.0.1", "::1")


@pytest.fixture
def config(tmp_path: Path, host_addresses: tuple[str, ...]) -> NodeConfig:
    pods, services = free_ranges()
    return NodeConfig(
        name=f"n{secrets.token_hex(3)}",
        state=tmp_path / "state",
        run=tmp_path / "run",
        host_addresses=host_addresses,
        pod_range=pods,
        service_range=services,
    )


@pytest.fixture
async def node(config: NodeConfig) -> AsyncIterator[Node]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    await ensure_base(config)
    node = Node(config)
    node.network.follow(node.view, {})
    try:
        yield node
    finally:
        for pod in node.pods:
            if pod.server is not None:
                stop(pod.server)
        await teardown(config)


def stop(process: subprocess.Popen[str]) -> None:
    """End a server; its standard input's end is its signal."""
    with contextlib.suppress(BrokenPipeError):
        process.communicate("", timeout=10)


@pytest.fixture
def listener() -> Iterator[Any]:
    """Open listening sockets on the host that are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context
