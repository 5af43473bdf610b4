"""A node on a booted machine that has a network: a host outside, who asks and is asked."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from tests.target.booted import Machine
from tests.target.inside import PORT

MACHINE, OUTSIDE = "203.0.113.1", "203.0.113.2"  # TEST-NET-3 (RFC 5737): public addresses that are nobody's
FOLDER = "/srv/project"
PODS, SERVICES, BRIDGE = "10.77.0.0/20", "10.77.16.0/24", "10.77.16.1"
_PROJECT = f"""\
environments:
  lab:
    target:
      node:
        name: lab
        apiPort: 7443
        hostAddresses: ["127.0.0.1", "{MACHINE}"]
        podRange: {PODS}
        serviceRange: {SERVICES}
    namespace: binder
    layers: []
  other:
    target: {{node: {{name: other, apiPort: 7444, hostAddresses: ["127.0.0.2"]}}}}
    namespace: binder
    layers: []
"""


def install(machine: Machine) -> None:
    """Gives it a project with two nodes, a link to the host outside, and the default route there."""
    script = f"""
        mkdir -p {FOLDER} /run/outside
        cat > {FOLDER}/binderops.yaml <<'END'
{_PROJECT}
END
        ip netns add outside
        ip link add out0 type veth peer name eth0 netns outside
        ip address add {MACHINE}/24 dev out0
        sysctl --quiet --write net.ipv6.conf.out0.disable_ipv6=1  # whose own addresses come later than it does
        ip link set out0 up
        ip -n outside address add {OUTSIDE}/24 dev eth0
        ip -n outside link set eth0 up
        ip -n outside link set lo up
        ip route add default via {OUTSIDE}
        echo outside > /run/outside/index.html
        ip netns exec outside busybox httpd -p 80 -h /run/outside
    """
    machine.run("bash", "-euc", script)


class NetworkedNode:
    """One of the project's nodes, with a pod that serves and one that asks."""

    def __init__(self, machine: Machine, name: str = "lab", *, published: str = "127.0.0.1") -> None:
        self.machine, self.name = machine, name
        self._published = published
        self._addresses: dict[str, str] = {}

    def inside(self, verb: str) -> Any:
        """What `inside` answers."""
        return json.loads(self.machine.python("tests.target.inside", FOLDER, verb, self.name))

    def up(self) -> None:
        """Returns when its pods serve."""
        self.inside("up")
        self._addresses = self.inside("make-two")
        self.machine.until(self.serves, "answer of its pod")

    def serves(self) -> bool:
        """Whether its pod answers at the published port."""
        return self.fetch(f"http://{self._published}:{PORT}/") == "here"

    def processes(self) -> set[int]:
        """Of its pods' first processes, by the ids that the machine knows."""
        found = self.machine.members(f"binderops/{self.name}/*/libpod-*")
        return {pid for pid, command in found.items() if command.startswith("sh -c")}

    def binderops(self, *words: str) -> Any:
        """What the command prints as JSON."""
        program = f"{sys.prefix}/bin/binderops"
        return json.loads(self.machine.run(program, *words, "--directory", FOLDER, "--output", "json"))

    def fetch(self, url: str, *, namespace: str = "") -> str:
        """A page as this machine, or as a network namespace, sees it; "" when there is none within two seconds."""
        within = ["ip", "netns", "exec", namespace] if namespace else []
        return self.machine.run(*within, *["timeout", "2", "busybox", "wget", "-q", "-O", "-"], url, check=False)

    def closed(self) -> set[str]:
        """Of the ways that users and pods need, those that are not open."""
        pod, service, asking = (self._addresses[name] for name in ("pod", "service", "asking"))
        namespace = self._namespace_of(asking)
        lookup = ["timeout", "5", "busybox", "nslookup", "kubernetes.default.svc.cluster.local", BRIDGE]
        resolved = self.machine.run("ip", "netns", "exec", namespace, *lookup, check=False)
        ways = {
            "loopback to the public port": self.fetch(f"http://127.0.0.1:{PORT}/") == "here",
            "outside to the public port": self.fetch(f"http://{MACHINE}:{PORT}/", namespace="outside") == "here",
            "pod to a public address": self.fetch(f"http://{OUTSIDE}/", namespace=namespace) == "outside",
            "pod to pod": self.fetch(f"http://{pod}:8080/", namespace=namespace) == "here",
            "pod to Service": self.fetch(f"http://{service}:{PORT}/", namespace=namespace) == "here",
            "pod to the node": self._connects(BRIDGE, 53, namespace),
            "pod to cluster DNS": "kubernetes.default" in resolved.partition(BRIDGE)[2],
        }
        return {way for way, is_open in ways.items() if not is_open}

    def _connects(self, address: str, port: int, namespace: str) -> bool:
        """Whether the kernel there takes a connection, also for a process that stands still."""
        opens = ["timeout", "2", "bash", "-c", f"exec 3<> /dev/tcp/{address}/{port} && echo open"]
        return self.machine.run("ip", "netns", "exec", namespace, *opens, check=False) == "open"

    def _namespace_of(self, address: str) -> str:
        script = """
            for name in $(ip netns list | cut -d' ' -f1); do
              ip -n "$name" -4 -o address | grep -qF " $1/" && echo "$name"
            done; true
        """
        return self.machine.run("bash", "-c", script, "bash", address)


def rules(machine: Machine) -> str:
    """All rules in the kernel but our own tables, without their counters."""
    text = machine.run("nft", "--stateless", "list", "ruleset")
    return re.sub(r"table ip binderops-\S+ \{\n.*?\n\}\n?", "", text, flags=re.DOTALL)
