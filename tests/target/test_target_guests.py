"""A guest on machines whose firewalls drop what is forwarded: the real ufw, firewalld and Docker.

Each runs as its operator would run it, on a machine that `booted` makes: this machine's own rules are not touched.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.podman.tiny import root_filesystem
from tests.target.booted import KEPT, Machine, machine
from tests.target.networked import BRIDGE, OUTSIDE, PODS, SERVICES, NetworkedNode, install, rules

from binderops.node.network.names import veth_prefix

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.slow]

FROM_PODS = {"pod to a public address", "pod to pod", "pod to Service"}
UNUSED = "unused chains of its zone `trusted`"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path, (*KEPT, "dbus")) as made:
        install(made)
        yield made


def start_ufw(machine: Machine) -> None:
    machine.run("ufw", "default", "deny", "routed")
    machine.run("ufw", "allow", "22/tcp", "comment", "of its operator")
    machine.run("ufw", "--force", "enable")


def start_firewalld(machine: Machine) -> None:
    machine.run("systemctl", "start", "dbus", "firewalld")
    machine.run("firewall-cmd", "--permanent", "--add-port=2222/tcp")
    machine.run("firewall-cmd", "--reload")


def start_docker(machine: Machine) -> None:
    machine.run("sysctl", "--quiet", "--write", "net.ipv4.ip_forward=0")  # else it takes forwarding for settled
    machine.run("systemctl", "start", "docker")
    machine.run("systemctl", "restart", "docker")  # it writes its chains anew, in another order than at first


def container_works(machine: Machine) -> bool:
    """Whether a container of Docker's own is let out."""
    fetch = ["timeout", "5", "wget", "-q", "-O", "-", f"http://{OUTSIDE}/"]
    return machine.run("docker", "run", "--rm", "tiny", *fetch, check=False) == "outside"


def files(machine: Machine) -> str:
    """What the firewalls keep on disk."""
    return machine.run("bash", "-c", "find /etc/ufw /etc/firewalld -type f | sort | xargs md5sum")


@contextlib.contextmanager
def standing_still(machine: Machine) -> Iterator[None]:
    """The node's process sees nothing meanwhile."""
    process = machine.run("cat", "/run/binderops/lab/node.pid")
    machine.run("kill", "-STOP", process)
    try:
        yield
    finally:
        machine.run("kill", "-CONT", process)


def only_added(before: str, now: str) -> list[str]:
    """What is there that was not; what was there is there."""
    was, is_now = Counter(before.splitlines()), Counter(now.splitlines())
    assert not was - is_now, "a rule of somebody else's is gone"
    return sorted((is_now - was).elements())


def is_ours(rule: str) -> bool:
    return any(word in rule for word in (PODS, SERVICES, veth_prefix("lab")))


def test_ufw(guarded: Machine) -> None:
    start_ufw(guarded)
    guarded.run("ufw", "allow", "from", PODS, "to", BRIDGE, "comment", "as a node would, by its operator")
    before, kept = rules(guarded), files(guarded)
    node = NetworkedNode(guarded)
    node.up()
    assert node.closed() == set()
    added = only_added(before, rules(guarded))
    assert len(added) == 2 and all(map(is_ours, added))
    with standing_still(guarded):
        node.inside("close")
        closed = node.closed()
        assert closed >= FROM_PODS and "pod to the node" not in closed, "its operator's own rule is left to it"
    guarded.until(lambda: only_added(before, rules(guarded)) == added, "accepts that are added again")
    assert node.closed() == set()
    guarded.run("ufw", "reload")
    assert only_added(before, rules(guarded)) == added and node.closed() == set()
    guarded.run("nft", "delete", "table", "ip", "binderops-lab")
    guarded.until(lambda: node.closed() == set(), "table of the node's own that is made again")

    guarded.run("ufw", "disable")  # its files keep our rules; they go nevertheless
    node.binderops("purge", "lab")
    guarded.run("ufw", "--force", "enable")
    assert (rules(guarded), files(guarded)) == (before, kept)


def test_firewalld(guarded: Machine) -> None:
    start_firewalld(guarded)
    before, kept = rules(guarded), files(guarded)
    node = NetworkedNode(guarded)
    node.up()
    assert node.closed() == set()
    with standing_still(guarded):
        node.inside("close")
        # What was translated, as on the way to a Service, it lets through.
        assert node.closed() >= {"pod to a public address", "pod to pod", "pod to the node"}
    guarded.until(lambda: node.closed() == set(), "accepts that are added again")
    guarded.run("firewall-cmd", "--reload")
    guarded.until(lambda: node.closed() == set(), "accepts that outlive a reload")
    guarded.run("systemctl", "restart", "firewalld")
    guarded.until(lambda: node.closed() == set(), "accepts that outlive a restart")

    stays = node.binderops("purge", "lab")["stays"]
    assert [UNUSED in line for line in stays].count(True) == 1
    left = only_added(before, rules(guarded))
    assert not any(map(is_ours, left)), "firewalld keeps the chains of a zone that was used"
    guarded.run("firewall-cmd", "--reload")
    assert (rules(guarded), files(guarded)) == (before, kept)


def test_a_firewalld_that_refuses_is_named_by_status(guarded: Machine) -> None:
    start_firewalld(guarded)
    guarded.run("firewall-cmd", "--permanent", "--zone=drop", f"--add-source={PODS}")
    guarded.run("firewall-cmd", "--permanent", "--zone=trusted", f"--add-source={SERVICES}")
    guarded.run("firewall-cmd", "--reload")
    before, kept = rules(guarded), files(guarded)
    node = NetworkedNode(guarded)
    node.inside("up")

    def notes() -> list[str]:
        return list(node.binderops("status")["environments"][0]["notes"])

    guarded.until(lambda: any(f"--add-source={PODS}" in note for note in notes()), "note of what is refused")
    guarded.run("firewall-cmd", "--zone=drop", f"--remove-source={PODS}")
    guarded.until(lambda: not any("firewall" in note for note in notes()), "end of the note")
    guarded.run("firewall-cmd", "--reload")
    stays = node.binderops("purge", "lab")["stays"]
    assert any(f"firewall-cmd --permanent --zone=trusted --remove-source={SERVICES}" in line for line in stays)
    assert (rules(guarded), files(guarded)) == (before, kept)


def test_docker(guarded: Machine) -> None:
    start_docker(guarded)
    (guarded.state / "tiny.tar").write_bytes(root_filesystem())
    guarded.run("docker", "import", "/var/lib/binderops/tiny.tar", "tiny")
    before = rules(guarded)
    assert "policy drop" in before and container_works(guarded)
    node = NetworkedNode(guarded)
    node.up()
    assert node.closed() == set()
    added = only_added(before, rules(guarded))
    assert len(added) == 2 and all(map(is_ours, added))
    with standing_still(guarded):
        node.inside("close")
        assert node.closed() >= FROM_PODS
    guarded.until(lambda: only_added(before, rules(guarded)) == added, "accepts that are added again")
    guarded.run("systemctl", "restart", "docker")
    guarded.until(lambda: node.closed() == set(), "accepts that outlive a restart")
    assert container_works(guarded)
    node.binderops("purge", "lab")
    assert rules(guarded) == before and container_works(guarded)


def test_docker_that_comes_later(guarded: Machine) -> None:
    """It finds forwarding on, and would have switched it on: a purge does not take it away from it."""
    guarded.run("sysctl", "--quiet", "--write", "net.ipv4.ip_forward=0")
    node = NetworkedNode(guarded)
    node.up()
    guarded.run("systemctl", "start", "docker")
    guarded.run("iptables", "-P", "FORWARD", "DROP")
    before = [line for line in rules(guarded).splitlines() if not is_ours(line)]
    guarded.until(lambda: node.closed() == set(), "accepts in the chain of a Docker that came later")
    stays = node.binderops("purge", "lab")["stays"]
    assert any("ip_forward" in line and "Docker" in line for line in stays)
    assert guarded.run("sysctl", "--values", "net.ipv4.ip_forward") == "1"
    assert rules(guarded).splitlines() == before
