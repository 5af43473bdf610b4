"""A node's API in a process of its own, the controllers in ours, and a stand-in for the machine that runs pods."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from binderops.errors import KubernetesError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import POD, Kind, Object
from binderops.kube.objects import is_deleting, labels_of, name_of, namespace_of, timestamp, uid_of
from binderops.node import controllers

NODE_NAME = "machine"
OUTCOME = "outcome"
"""A pod with this label ends with that phase as soon as it runs."""


class Settings(NamedTuple):
    state: Path


class Cluster:
    """What a test needs: a client, the state folder, and waiting for what the controllers should bring about."""

    def __init__(self, client: Client, api: Api, machine: Machine) -> None:
        self.client = client
        self.api = api
        self.state = api.state
        self.machine = machine

    async def until(self, kind: Kind, name: str, namespace: str | None, condition: Callable[[Object], Any]) -> Object:
        """The object once the condition holds; the last one seen is shown when it does not within 15 s."""
        last: Object = {}
        try:
            async with asyncio.timeout(15):
                while True:
                    try:
                        last = await self.client.get(kind, name, namespace)
                        if condition(last):
                            return last
                    except NotFoundError:
                        last = {}
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(f"{kind.kind} {name} did not become as expected: {last}") from None

    async def gone(self, kind: Kind, name: str, namespace: str | None) -> None:
        """Return once there is no such object."""
        async with asyncio.timeout(15):
            while True:
                try:
                    await self.client.get(kind, name, namespace)
                except NotFoundError:
                    return
                await asyncio.sleep(0.03)

    async def until_list(
        self, kind: Kind, namespace: str | None, condition: Callable[[list[Object]], Any], *, labels: str | None = None
    ) -> list[Object]:
        """All objects of a kind once the condition holds for them."""
        items: list[Object] = []
        try:
            async with asyncio.timeout(15):
                while True:
                    items = (await self.client.list(kind, namespace, labels=labels)).items
                    if condition(items):
                        return items
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(f"{kind.kind}s did not become as expected: {items}") from None


class Machine:
    """Stands in for the pods room: binds pods, reports them ready with an address, ends them when they are deleted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informer = Informer(client, POD)
        self._changed: asyncio.Queue[Object] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses = 0
        self.seen: set[str] = set()
        """The uids of all pods that there ever were."""
        self.slow_to_end: asyncio.Event = asyncio.Event()
        """While cleared, pods that are deleted stay."""
        self.slow_to_end.set()

    async def run(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME}}
        await self._client.create(node)
        self._informer.subscribe(lambda event, pod, _old: self._begin(pod) if event != "DELETED" else None)
        await self._informer.run()

    def _begin(self, pod: Object) -> None:
        task = asyncio.create_task(self._tend(pod))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tend(self, pod: Object) -> None:
        try:
            if is_deleting(pod):
                await self.slow_to_end.wait()
                await self._client.delete(POD, name_of(pod), namespace_of(pod), grace_seconds=0, uid=uid_of(pod))
            elif uid_of(pod) not in self.seen:
                self.seen.add(uid_of(pod))
                await self._start(pod)
        except KubernetesError as error:
            if error.code not in (404, 409):
                raise

    async def _start(self, pod: Object) -> None:
        place, name = namespace_of(pod), name_of(pod)
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self._client.request("POST", POD.path(place, name, "binding"), json=binding)
        self._addresses += 1
        phase = labels_of(pod).get(OUTCOME, "Running")
        if phase == "Never":
            return
        ready = {"type": "Ready", "status": str(phase == "Running"), "lastTransitionTime": timestamp()}
        address = f"10.77.{self._addresses // 250}.{self._addresses % 250 + 1}"
        status = {"phase": phase, "conditions": [ready], "podIP": address, "podIPs": [{"ip": address}]}
        await self._client.patch(POD, name, place, {"status": status}, subresource="status")


class Api:
    """A node's API alone, in a process of its own that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.state = folder / "nodes" / "ctl"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]

    async def start(self) -> None:
        """Start it; returns once the node says by its kubeconfig that it is ready."""
        command = [sys.executable, "-m", "binderops.node", "--state", str(self._folder), "--name", "ctl", "--api-only"]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            "--api-port",
            str(self._port),
            env={**os.environ, "BINDEROPS_RUN": str(self._folder / "run")},
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(20):
            while not (self.state / "kubeconfig").exists():
                assert self._process.returncode is None, "the API's process ended"
                await asyncio.sleep(0.02)

    async def stop(self, *, kill: bool = False) -> None:
        """End it, politely or not."""
        assert self._process is not None
        if self._process.returncode is None:
            (self._process.kill if kill else self._process.terminate)()
        await asyncio.wait_for(self._process.wait(), 20)
        (self.state / "kubeconfig").unlink(missing_ok=True)


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """API, controllers and machine together."""
    api = Api(folder)
    await api.start()
    try:
        async with _running(api) as made:
            yield made
    finally:
        await api.stop()


@asynccontextmanager
async def _running(api: Api) -> AsyncIterator[Cluster]:
    state = api.state
    async with (
        Client.from_kubeconfig(state / "kubeconfig", field_manager="tests") as client,
        Client.from_kubeconfig(state / "pki" / "node.kubeconfig", field_manager="controllers") as own,
        Client.from_kubeconfig(state / "pki" / "node.kubeconfig", field_manager="machine") as machines,
    ):
        machine = Machine(machines)
        tasks = [
            asyncio.create_task(controllers.run(own, Settings(state))),
            asyncio.create_task(machine.run()),
        ]
        try:
            yield Cluster(client, api, machine)
            for task in tasks:
                assert not task.done(), f"a task ended: {task}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
