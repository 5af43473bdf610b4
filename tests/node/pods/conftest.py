"""A whole node of the tests' own: API, network and pods as one process, with a tiny image in its engine."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.podman.tiny import TINY, root_filesystem

from binderops.kube.client import Client
from binderops.kube.kinds import EVENT, POD
from binderops.node.config import NodeConfig, read_config
from binderops.node.kubeconfig import withdraw_admin_kubeconfig
from binderops.podman import Podman

Pod = dict[str, Any]


class Node:
    """A node's process, which can be killed and started again."""

    def __init__(self, folder: Path, name: str) -> None:
        self.state = folder / "state"
        self.run = folder / "run"
        self.name = name
        self.port = free_port()
        self.log = folder / "node.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.more: dict[str, str] = {}
        """Environment variables of the node's process alone."""

    @property
    def config(self) -> NodeConfig:
        return read_config(self.name, state_root=self.state, run_root=self.run)

    @property
    def kubeconfig(self) -> Path:
        return self.state / "nodes" / self.name / "kubeconfig"

    @property
    def socket(self) -> Path:
        return self.run / self.name / "podman" / "podman.sock"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "binderops.node", *words, "--state", str(self.state), "--name", self.name]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "BINDEROPS_RUN": str(self.run)}

    def start(self) -> None:
        if self.kubeconfig.exists():  # of a process that was killed: it is what is waited for
            withdraw_admin_kubeconfig(self.config)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command("run"), "--api-port", str(self.port), "--host-address", "127.0.0.1"],
                stdout=log,
                stderr=log,
                env=self.environment | self.more,
            )
        self.wait_for(self.kubeconfig.exists, "the kubeconfig")
        self.wait_for(self.socket.exists, "the engine's socket")

    def wait_for(self, condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < end, f"no {what}: {self.log.read_text()[-4000:]}"
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end()
        subprocess.run([*self.command("stop")], env=self.environment, check=True, timeout=90)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def give_image(node: Node) -> None:
    """Give the node's engine the image that pods are made of here."""
    async with Podman(node.socket) as podman:
        await podman.images.import_archive(root_filesystem(), reference=TINY)


@contextmanager
def running(node: Node) -> Iterator[Node]:
    """Start it and give it the image that pods are made of here; at the end it goes, and its state."""
    try:
        node.start()
        asyncio.run(give_image(node))
        yield node
    finally:
        node.remove()
        shutil.rmtree(node.state, ignore_errors=True)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(Node(tmp_path_factory.mktemp("pods"), f"tp{secrets.token_hex(2)}")) as node:
        yield node


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(node.kubeconfig) as client:
        yield client


def is_running(pod: Pod) -> bool:
    """Whether the pod's container runs."""
    return "running" in status_of(pod).get("state", {})


async def events_of(client: Client, pod: Pod) -> list[dict[str, Any]]:
    """The Events about this pod."""
    return (await client.list(EVENT, "default", fields=f"involvedObject.uid={pod['metadata']['uid']}")).items


Until = Callable[[Pod], bool]
WaitFor = Callable[..., Awaitable[Pod]]


@pytest.fixture
def wait_for(client: Client) -> WaitFor:
    """Wait until a pod is as wanted; the last seen status is in the failure."""

    async def wait(name: str, until: Until, *, seconds: float = 30.0, namespace: str = "default") -> Pod:
        pod: Pod = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    pod = await client.get(POD, name, namespace)
                    if until(pod):
                        return pod
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"pod {name} did not get there: {pod.get('status')}") from None

    return wait


@pytest.fixture
async def make(client: Client) -> AsyncIterator[Callable[..., Awaitable[Pod]]]:
    """Create pods of the tiny image, deleted at the end of the test."""
    made: list[Pod] = []

    async def create(name: str, script: str = "sleep 1000", **spec: Any) -> Pod:
        container = {"name": "main", "image": TINY, "command": ["sh", "-c", script], **spec.pop("container", {})}
        metadata = {"name": name, "namespace": "default", **spec.pop("metadata", {})}
        body = {"terminationGracePeriodSeconds": 0, "containers": [container, *spec.pop("more", [])], **spec}
        pod = await client.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body})
        made.append(pod)
        return pod

    yield create
    for pod in made:
        await delete(client, pod)


async def delete(client: Client, pod: Pod, *, seconds: float = 20.0, grace: int | None = None) -> None:
    """Delete a pod and wait until the API has it no longer."""
    from binderops.errors import ConflictError, NotFoundError

    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    try:
        await client.delete(POD, name, "default", uid=uid, grace_seconds=grace)
        async with asyncio.timeout(seconds):
            while (await client.get(POD, name, "default"))["metadata"]["uid"] == uid:
                await asyncio.sleep(0.05)
    except (NotFoundError, ConflictError):
        return


FINISHED = ("Succeeded", "Failed")


def status_of(pod: Pod, container: str = "main", *, kind: str = "containerStatuses") -> dict[str, Any]:
    found = [entry for entry in (pod.get("status") or {}).get(kind) or [] if entry["name"] == container]
    return found[0] if found else {}


def ended(pod: Pod) -> bool:
    return (pod.get("status") or {}).get("phase") in FINISHED


async def logs_of(client: Client, name: str, **options: Any) -> str:
    return b"".join([piece async for piece in client.logs(name, "default", **options)]).decode()
