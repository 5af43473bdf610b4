"""The pieces of a deployment, each as the processes to kill; and what a killed one may leave lying about."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.e2e.conftest import API_PORT, DOMAIN, NAME, PORT, RUN, STATE
from tests.e2e.listing import CGROUPS, running
from tests.e2e.networks import until

_LABELS = {
    "hub": "component=hub",
    "proxy": "component=proxy",
    "binder": "component=binder",
    "ingress": "app=nginx-ingress,component=controller",
    "registry": "component=registry",
}
_SERVER_LABEL = "singleuser-server"
_SOCKET = RUN / NAME / "podman" / "podman.sock"
Kubectl = Callable[..., str]


@dataclass
class Killer:
    """Kills pieces and tells when they are back. `command` is the one that a unit would start the node with."""

    kubectl: Kubectl
    command: list[str]

    def aim(self, piece: str) -> Callable[[], Callable[[], bool]]:
        """Finds the piece's processes. Returned is what ends them by kill -9, which returns what asks for the piece."""
        if piece == "node":
            return self._aim_at([int((RUN / NAME / "node.pid").read_text())], _node_ready, then=self._start_node)
        if piece == "podman":
            return self._aim_at(_processes("system", "service", str(_SOCKET)), _engine_answers)
        pod = self._pod(piece)
        before = _restarts(pod)
        return self._aim_at(_first_processes(pod["metadata"]["uid"]), lambda: self._restarted(piece, before))

    def _aim_at(
        self, pids: list[int], is_back: Callable[[], bool], then: Callable[[], None] = lambda: None
    ) -> Callable[[], Callable[[], bool]]:
        def kill() -> Callable[[], bool]:
            _kill(pids)
            then()
            return lambda: is_back() and self._healthy()

        return kill

    def renew(self, piece: str) -> None:
        """A fresh pod, where the old one would wait for its back-off at the next kill."""
        if piece not in _LABELS or _restarts(self._pod(piece)) == 0:
            return
        old = self._pod(piece)["metadata"]
        self.kubectl("delete", "pod", old["name"], "--wait=true")
        until(lambda: self._restarted(piece, -1) and self._healthy(), f"a new {piece}", timeout=60)

    def stop_servers(self, *, keep: str) -> None:
        """Ends every user's server but one, as the hub's culler would."""
        secret = json.loads(self.kubectl("get", "secret", "hub", "-o", "json"))["data"]
        token = base64.b64decode(secret["hub.services.binder.apiToken"]).decode()
        headers = {"Authorization": f"token {token}", "Host": f"hub.{DOMAIN}:{PORT}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{PORT}/hub/api", headers=headers, trust_env=False, timeout=60
        ) as hub:
            for user in hub.get("/users").raise_for_status().json():
                if user["name"] != keep:
                    hub.delete(f"/users/{user['name']}")

    def leftovers(self, *, keep: str) -> list[str]:
        """What no pod of the API owns: containers, processes, namespaces, links, routes, rules, folders, images."""
        pods = json.loads(self.kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
        uids = {pod["metadata"]["uid"] for pod in pods}
        alive = {uid[:8] for uid in uids}
        addresses = {pod["status"].get("podIP") for pod in pods}
        folders = (STATE / "nodes" / NAME, RUN / NAME)
        found = [line for line in running(NAME, folders) if _of_a_pod(line) and not _named(line, alive)]
        containers = _engine("containers/json?all=true")
        found += _strays({container["Id"] for container in containers})
        for container in containers:
            if container["Labels"].get("binderops.dev/pod-uid") not in uids:
                found.append(f"container {container['Names']} of no pod")
        found += [
            f"image without a name {image['Id'][:12]}"
            for image in _engine("images/json")
            if image.get("Dangling") and not image.get("ReadOnly")
        ]
        found += [f"folder {path}" for path in (STATE / "nodes" / NAME / "pods").iterdir() if path.name not in uids]
        found += [f"control groups of {uid}" for uid in _grouped() - uids]
        found += [f"rule for {address}" for address in _addresses_in_rules() - addresses]
        found += [f"server {pod['metadata']['name']}" for pod in pods if _is_server(pod) and keep not in _name(pod)]
        return sorted(found)

    def _start_node(self) -> None:
        start_as_init(self.command, STATE / "nodes" / NAME / "logs" / "node.log")

    def _pod(self, piece: str) -> dict[str, Any]:
        pods = json.loads(self.kubectl("get", "pods", "-l", _LABELS[piece], "-o", "json"))["items"]
        pods = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        assert len(pods) == 1, f"{piece}: {[_name(pod) for pod in pods]}"
        pod: dict[str, Any] = pods[0]
        return pod

    def _restarted(self, piece: str, before: int) -> bool:
        pod = self._pod(piece)
        ready = [each["status"] for each in pod["status"].get("conditions", []) if each["type"] == "Ready"]
        return ready == ["True"] and _restarts(pod) > before

    def _healthy(self) -> bool:
        """The binder says so of itself, the hub and the registry, at its public address."""
        try:
            told = httpx.get(f"http://127.0.0.1:{PORT}/health", headers={"Host": DOMAIN}, timeout=3, trust_env=False)
            return told.status_code == 200 and bool(told.json()["ok"])
        except (httpx.HTTPError, ValueError):
            return False


def start_as_init(command: list[str], log: Path) -> None:
    """Starts a program as init would: no terminal, next to no environment, not a child of ours."""
    with log.open("ab") as told:
        subprocess.run(
            ["setsid", "--fork", *command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            timeout=10,
            check=True,
        )


def exec_start(unit: str) -> list[str]:
    """The command of a systemd unit."""
    lines = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    return shlex.split(lines[0].removeprefix("ExecStart="))


def _kill(pids: list[int]) -> None:
    hit = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # a short-lived child of the piece's
            os.kill(pid, signal.SIGKILL)
            hit += 1
    assert hit, f"there is a process to kill, not one of {pids}"
    until(lambda: not any(_lives(pid) for pid in pids), f"{pids} to be gone", timeout=10)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _processes(*words: str) -> list[int]:
    return [
        pid
        for pid, command in _commands()
        if all(any(word in argument for argument in command) for word in words) and "podman" in command[0]
    ]


def _strays(containers: set[str]) -> list[str]:
    """Monitors of the engine's that watch none of its containers; processes that a runtime made and nobody started."""
    found = []
    for pid, command in _commands():
        if command[0].endswith("conmon") and any(str(RUN) in argument for argument in command):
            watched = command[command.index("-c") + 1]
            found += [] if watched in containers else [f"process {pid}: the monitor of {watched[:12]}"]
        elif command[0].endswith("runc") and command[1:2] == ["init"]:
            found.append(f"process {pid}: runc init")
    return found


def _commands() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if command := entry.read_bytes().decode(errors="replace").rstrip("\0"):
                yield int(entry.parent.name), command.split("\0")


def _first_processes(uid: str) -> list[int]:
    """The first process of each of a pod's containers: the others die with it, and the engine's monitor sees it."""
    containers = _engine("containers/json")
    return [each["Pid"] for each in containers if each["Labels"].get("binderops.dev/pod-uid") == uid]


def _node_ready() -> bool:
    if not (STATE / "nodes" / NAME / "kubeconfig").exists():
        return False  # it is written once the node is ready
    authority = STATE / "nodes" / NAME / "pki" / "ca.crt"
    try:
        context = ssl.create_default_context(cafile=str(authority))
        told = httpx.get(f"https://127.0.0.1:{API_PORT}/readyz", verify=context, timeout=3, trust_env=False)
    except (httpx.HTTPError, OSError):
        return False
    return told.status_code == 200


def _engine(path: str) -> Any:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(_SOCKET)), timeout=30) as client:
        return client.get(f"http://d/v4.0.0/libpod/{path}").raise_for_status().json()


def _engine_answers() -> bool:
    try:
        _engine("_ping")
    except ValueError:
        return True  # it says OK, which is no JSON
    except httpx.HTTPError:
        return False
    return True


def _restarts(pod: dict[str, Any]) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", []))


def _name(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])


def _is_server(pod: dict[str, Any]) -> bool:
    return bool(pod["metadata"].get("labels", {}).get("component") == _SERVER_LABEL)


def _of_a_pod(line: str) -> bool:
    return line.startswith(("namespace ", "link ", "route ")) and not re.search(rf"\bbo-{NAME}(?!-)\b", line)


def _named(line: str, uids: set[str]) -> bool:
    return any(uid in line for uid in uids)


def _grouped() -> set[str]:
    """The uids that have control groups, in any hierarchy."""
    return {
        path.name
        for top in (CGROUPS / "binderops", *CGROUPS.glob("*/binderops"))
        for path in (top / NAME).glob("*-*-*-*-*")
    }


def _addresses_in_rules() -> set[str]:
    """The addresses of pods that the node's table names."""
    settings = yaml.safe_load((STATE / "nodes" / NAME / "node.yaml").read_text())
    pods = ip_network(settings["pod_range"])
    done = subprocess.run(
        ["nft", "list", "table", "ip", f"binderops-{NAME}"], capture_output=True, text=True, timeout=30, check=True
    )
    found = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b(?!/)", done.stdout))
    return {address for address in found if ip_address(address) in pods}
