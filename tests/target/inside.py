"""What the tests do on the machine of `booted`: `python -m tests.target.inside PROJECT VERB [NODE]`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.podman.tiny import TINY, root_filesystem

from binderops.cli.wiring import open_workspace
from binderops.kube.client import Client
from binderops.kube.kinds import POD, SERVICE
from binderops.node.config import read_config
from binderops.node.network.firewalls import remove_accepts
from binderops.podman import Podman
from binderops.target.node import NodeTarget

NODE, PORT, NAME, ASKING = "lab", 8088, "served", "asking"
PROJECT_FILE = f"""\
environments:
  {NODE}:
    target:
      node: {{name: {NODE}, apiPort: 7443, hostAddresses: ["127.0.0.1"]}}
    namespace: binder
    layers: []
"""
# Its first process hears no SIGTERM: whoever waits for it to end by itself waits in vain.
SCRIPT = "echo here > /www/index.html; httpd -p 8080 -h /www; while sleep 1; do date; done"


async def main(root: str, verb: str, node: str = NODE) -> Any:
    target = open_workspace(Path(root), node).target
    assert isinstance(target, NodeTarget)
    if verb == "up":
        return (await target.ensure(report=_say)).started
    if verb == "close":
        return remove_accepts(read_config(node, state_root=target.state, run_root=target.run))
    async with _client(target) as client:
        match verb:
            case "make":
                await _make(target, client, _pod(NAME), _service())
                return None
            case "make-two":
                await _make(target, client, _pod(NAME), _pod(ASKING), _service())
                service = (await client.get(SERVICE, NAME, "default"))["spec"]["clusterIP"]
                pod, asking = await _address(client, NAME), await _address(client, ASKING)
                return {"pod": pod, "asking": asking, "service": service}
            case "pod":
                return (await client.get(POD, NAME, "default"))["status"]
    raise ValueError(verb)


async def _make(target: NodeTarget, client: Client, *objects: dict[str, Any]) -> None:
    async with Podman(target.run / target.name / "podman" / "podman.sock") as podman:
        await podman.images.import_archive(root_filesystem(), reference=TINY)
    for obj in objects:
        await client.create(obj)


async def _address(client: Client, name: str) -> str:
    async with asyncio.timeout(30):
        while not (address := (await client.get(POD, name, "default"))["status"].get("podIP")):
            await asyncio.sleep(0.05)
    return str(address)


def _pod(name: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": TINY,
        "command": ["sh", "-c", SCRIPT],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    metadata = {"name": name, "namespace": "default", "labels": {"app": name}}
    spec = {"hostUsers": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _service() -> dict[str, Any]:
    ports = [{"port": PORT, "targetPort": 8080}]
    spec = {"type": "LoadBalancer", "selector": {"app": NAME}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": "default"}, "spec": spec}


def _client(target: NodeTarget) -> Client:
    return Client.from_kubeconfig(target.folder / "kubeconfig")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(*sys.argv[1:]))))
