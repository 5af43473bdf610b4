"""The real Kubernetes API of this project, and a kubelet of the test's own that "runs" build pods by a script.

Only what a kubelet does is made up here: pods are bound, get a status, have a log, and end; the API is the real one.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from binderops.errors import KubernetesError
from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import POD
from binderops.kube.objects import is_deleting, name_of, namespace_of, status_of
from binderops.node.api import server
from binderops.node.config import NodeConfig
from binderops.node.kubeconfig import write_admin_kubeconfig
from binderops.node.pki import ensure_pki

NAMESPACE = "binder"
NODE = "test"
Object = dict[str, Any]


def line(phase: str, message: str) -> bytes:
    return json.dumps({"phase": phase, "message": message}).encode() + b"\n"


class Run:
    """One pod that "runs": the script writes its log, and says how it ends."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.log = b""
        self.ended = False
        self.changed = asyncio.Condition()

    async def write(self, data: bytes) -> None:
        async with self.changed:
            self.log += data
            self.changed.notify_all()

    async def end(self) -> None:
        async with self.changed:
            self.ended = True
            self.changed.notify_all()

    async def follow(self, tail: int | None) -> AsyncIterator[bytes]:
        lines = self.log.splitlines(keepends=True)
        sent = 0 if tail is None else sum(map(len, lines[: max(len(lines) - tail, 0)]))
        while True:
            async with self.changed:
                while len(self.log) == sent and not self.ended:
                    await self.changed.wait()
                data, over = self.log[sent:], self.ended
            sent += len(data)
            if data:
                yield data
            if over:
                return


Script = Callable[[Run], Awaitable[int]]


@dataclass
class Cluster:
    """What tests are given. `script` decides what the next build pods do."""

    kubeconfig: Path
    loop: asyncio.AbstractEventLoop
    runs: dict[str, Run] = field(default_factory=dict)
    scripts: dict[str, Script] = field(default_factory=dict)
    waiting: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    created: list[Object] = field(default_factory=list)

    def on_build(self, repo: str, script: Script) -> None:
        """What a build of a repository (its annotation `binder-repo`) does."""
        self.scripts[repo] = script

    def on_start(self, repo: str, waiting: list[tuple[str, str]]) -> None:
        """What its container waits for first: reasons and messages, each for a while."""
        self.waiting[repo] = waiting

    def client(self) -> Client:
        return Client.from_kubeconfig(self.kubeconfig)


class ClusterThread:
    """Runs API and kubelet on an event loop of their own, so that they outlive single tests."""

    def __init__(self, folder: Path) -> None:
        ports = _free_ports(2)
        self._config = NodeConfig(
            name="binder",
            state=folder / "state",
            run=folder / "run",
            api_port=ports[0],
            kubelet_port=ports[1],
            pod_range="10.199.0.0/24",
            # A loopback range: the kubelet's certificate is for its first address.
            service_range="127.66.0.0/24",
        )
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self) -> Cluster:
        for folder in (self._config.state, self._config.run):
            folder.mkdir(parents=True)
        ensure_pki(self._config)
        write_admin_kubeconfig(self._config)
        self._thread.start()
        assert self._ready.wait(60), "the API did not start"
        if self._problem:
            raise self._problem
        return self.cluster

    def stop(self) -> None:
        self.cluster.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(20)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._problem = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        self.cluster = Cluster(self._config.admin_kubeconfig, asyncio.get_running_loop())
        started = asyncio.Event()
        api = asyncio.create_task(server.run(self._config, started))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({api, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if api.done():
            api.result()
        kubelet = asyncio.create_task(_Kubelet(self._config, self.cluster).run(self._ready))
        await self._stopping.wait()
        for task in (kubelet, api):
            task.cancel()
        await asyncio.gather(kubelet, api, return_exceptions=True)


class _Kubelet:
    def __init__(self, config: NodeConfig, cluster: Cluster) -> None:
        self._config = config
        self._cluster = cluster
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ready: threading.Event) -> None:
        endpoint = asyncio.create_task(self._serve_logs())
        try:
            async with self._cluster.client() as client:
                self._client = client
                await self._register()
                pods = Informer(client, POD)
                pods.subscribe(self._changed)
                watching = asyncio.create_task(pods.run())
                await pods.synced.wait()
                ready.set()
                await watching
        finally:
            endpoint.cancel()
            await asyncio.gather(endpoint, return_exceptions=True)

    async def _register(self) -> None:
        for kind, name in (("Namespace", NAMESPACE), ("Node", NODE)):
            await self._client.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
        await self._client.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}}
        )
        status = {
            "addresses": [{"type": "InternalIP", "address": self._config.bridge_address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._config.kubelet_port}},
        }
        node = await self._client.request("GET", f"/api/v1/nodes/{NODE}")
        await self._client.replace_status({**node, "status": status})

    async def _serve_logs(self) -> None:
        app = Starlette(routes=[Route("/containerLogs/{namespace}/{pod}/{container}", self._log)])
        pki = self._config.pki
        config = uvicorn.Config(
            app,
            host=self._config.bridge_address,
            port=self._config.kubelet_port,
            log_config=None,
            lifespan="off",
            ssl_certfile=pki / "kubelet.crt",
            ssl_keyfile=str(pki / "kubelet.key"),
            ssl_ca_certs=str(pki / "ca.crt"),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
            timeout_graceful_shutdown=1,
        )
        serving = uvicorn.Server(config)
        serving.capture_signals = suppress  # type: ignore[method-assign,assignment]
        await serving.serve()

    async def _log(self, request: Request) -> Response:
        run = self._cluster.runs.get(request.path_params["pod"])
        if run is None:
            return PlainTextResponse("no such pod", status_code=404)
        tail = request.query_params.get("tailLines")
        return StreamingResponse(run.follow(int(tail) if tail else None), media_type="text/plain")

    def _changed(self, kind: str, new: Object, old: Object | None) -> None:
        if kind == "ADDED" and new["metadata"]["labels"].get("component") == "binderhub-build":
            self._cluster.created.append(new)
            self._start(self._run(new))
        elif kind == "MODIFIED" and is_deleting(new):
            self._start(self._remove(new))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, pod: Object) -> None:
        repo = pod["metadata"]["annotations"]["binder-repo"]
        run = self._cluster.runs[name_of(pod)] = Run(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        path = POD.path(namespace_of(pod), name_of(pod), "binding")
        with suppress(KubernetesError):
            await self._client.request("POST", path, json=binding)
            for reason, message in self._cluster.waiting.get(repo, []):
                await self._set_phase(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
                await asyncio.sleep(0.3)
            await self._set_phase(pod, "Running", {"running": {}})
            code = await self._cluster.scripts[repo](run)
            await run.end()
            ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
            await self._set_phase(pod, "Failed" if code else "Succeeded", {"terminated": ended})

    async def _set_phase(self, pod: Object, phase: str, state: Object) -> None:
        container = {
            "name": "builder", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state,
        }  # fmt: skip
        body = {"status": {**status_of(pod), "phase": phase, "containerStatuses": [container]}}
        await self._client.patch(POD, name_of(pod), namespace_of(pod), body, subresource="status")

    async def _remove(self, pod: Object) -> None:
        with suppress(KubernetesError):
            await self._client.delete(POD, name_of(pod), namespace_of(pod), grace_seconds=0)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
