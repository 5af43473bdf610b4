"""`purge` judged by listings of a whole machine, before and after; and that such a listing misses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.target.allowed import NODE_GONE, NODE_RUNS
from tests.target.booted import Machine, machine
from tests.target.listed import whole
from tests.target.networked import NetworkedNode, install
from tests.target.whole import Listing, added

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.slow]

# What makes a thing of each kind, and what takes it away; by no name of ours.
LEAKS = {
    "process": ("setsid sleep 1234 < /dev/null > /dev/null 2>&1 &", "kill $(pgrep -f '^sleep 1234')"),
    "namespace": ("ip netns add leak", "ip netns delete leak"),
    "mount": ("mkdir /mnt/leak; mount -t tmpfs leak /mnt/leak", "umount /mnt/leak; rmdir /mnt/leak"),
    "link": ("ip link add leak type veth peer name leak2", "ip link delete leak"),
    "route": ("ip route add 192.0.2.0/24 dev out0", "ip route delete 192.0.2.0/24"),
    "rule": ("ip rule add to 192.0.2.0/24 lookup main", "ip rule delete to 192.0.2.0/24 lookup main"),
    "table": ("nft add table inet leak", "nft delete table inet leak"),
    "sysctl": ("sysctl -qw net.ipv4.tcp_fin_timeout=59", "sysctl -qw net.ipv4.tcp_fin_timeout=60"),
    "unit": ("systemd-run --quiet --unit leak --remain-after-exit true", "systemctl stop leak"),
    "cgroup": (
        "mkdir $(dirname $(find /sys/fs/cgroup -name cgroup.procs | head -1))/leak",
        "rmdir $(find /sys/fs/cgroup -name leak)",
    ),
    "shared memory": ("ipcmk --shmem 100", "ipcrm --all=shm"),
    "file": ("touch /usr/local/leak", "rm /usr/local/leak"),
}


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("purging")) as made:
        install(made)
        yield made


@pytest.fixture(scope="module")
def nothing(booted: Machine) -> Listing:
    """The machine before anything was done on it."""
    return whole(booted)


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_of_each_kind_is_seen(booted: Machine, nothing: Listing, kind: str) -> None:
    make, take_away = LEAKS[kind]
    booted.run("bash", "-ec", make)
    try:
        assert added(nothing, whole(booted), NODE_GONE).get(kind)
    finally:
        booted.run("bash", "-ec", take_away)


def test_a_purge_leaves_the_machine_as_it_was_and_other_nodes_alone(booted: Machine, nothing: Listing) -> None:
    assert set(nothing) == set(LEAKS)
    assert added(nothing, whole(booted), NODE_GONE) == {}, "no planted leak is left"
    lab, other = NetworkedNode(booted), NetworkedNode(booted, "other", published="127.0.0.2")
    lab.up()
    lab_alone = whole(booted)
    assert set(added(nothing, lab_alone, NODE_GONE)) >= {*LEAKS} - {"rule", "shared memory"}, "all that a node makes"
    pods = lab.processes()
    other.up()
    assert other.serves()
    assert added(lab_alone, whole(booted), NODE_GONE | NODE_RUNS) != {}
    removed = other.binderops("purge", "other")
    assert any("images: other environments" in line for line in removed["stays"])
    assert not other.serves()
    assert lab.serves() and lab.processes() == pods
    assert added(lab_alone, whole(booted), NODE_GONE | NODE_RUNS) == {}

    lab.binderops("purge", "lab")
    assert added(nothing, whole(booted), NODE_GONE) == {}
    lab.binderops("purge", "lab")
    assert added(nothing, whole(booted), NODE_GONE) == {}, "twice is no mistake"
