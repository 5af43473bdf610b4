"""The node's unit under systemd itself, the init of a machine of the tests' own that restarts and loses its power."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.target.booted import Machine, machine
from tests.target.inside import NODE, PORT, PROJECT_FILE

from binderops.target.program import NodeProgram
from binderops.target.systemd import render_environment, render_unit

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.slow]

UNIT = f"binderops-{NODE}.service"
FOLDER = "/var/lib/binderops/project"
READY = '"the node is ready"'


class Lab:
    """A node on a machine that systemd runs."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._lives = 0
        project = machine.state / "project"
        project.mkdir()
        (project / "binderops.yaml").write_text(PROJECT_FILE)

    def inside(self, verb: str) -> Any:
        """What `inside` answers."""
        return json.loads(self.machine.python("tests.target.inside", FOLDER, verb))

    def binderops(self, verb: str) -> None:
        """The command itself."""
        self.machine.run(f"{sys.prefix}/bin/binderops", verb, NODE, "--directory", FOLDER)

    def state(self) -> str:
        """Of the unit."""
        return self.machine.run("systemctl", "is-active", UNIT, check=False)

    def until_ready(self) -> None:
        """Once more than it was before, by its log."""
        self._lives += 1
        log = self.machine.state / "nodes" / NODE / "logs" / "node.log"
        self.machine.until(lambda: log.exists() and log.read_text().count(READY) == self._lives, "node that is ready")

    def until_pod_serves(self, *, restarts: int) -> None:
        """At the public port, after so many restarts."""
        self.machine.until(self.serves, "answer of the pod")
        status = self.inside("pod")["containerStatuses"][0]
        assert (status["ready"], status["restartCount"]) == (True, restarts)

    def serves(self) -> bool:
        """Whether the pod answers at the public port."""
        ask = f"exec 3<> /dev/tcp/127.0.0.1/{PORT} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
        return self.machine.run("timeout", "5", "bash", "-c", ask, check=False).endswith("here")

    def members(self, group: str) -> set[str]:
        """The programs in a control group."""
        commands = [command.split() for command in self.machine.members(group).values()]
        return {words[words.index("-m") + 1] if "-m" in words else Path(_program(words)).name for words in commands}

    def pod_processes(self) -> set[int]:
        """The first process of the pod's container; its children come and go."""
        found = self.machine.members(f"binderops/{NODE}/*/libpod-*")
        return {pid for pid, command in found.items() if command.startswith("sh -c")}


def _program(words: list[str]) -> str:
    scripts = [word for word in words if word.endswith(".py")]
    return (scripts or words)[0]


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("booted")) as made:
        yield made


@pytest.fixture
def lab(booted: Machine) -> Lab:
    return Lab(booted)


@dataclass(frozen=True)
class Telling(NodeProgram):
    """Tells what it was started with, in place of a node."""

    @property
    def _module(self) -> list[str]:
        tell = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
        return ["/usr/bin/python3", "-c", tell]


def test_words_variables_and_log_arrive_as_they_are(booted: Machine) -> None:
    state = Path("/var/lib/binderops") / "a b/50%i/$HOME/\"q'/\\n"
    program = Telling("odd", state, Path("/run/binderops"), 7444, ("127.0.0.1",))
    variables = {"https_proxy": "http://u:p$w%i\"'`\\x@proxy:1/", "PATH": "/usr/bin:/bin"}
    folder = booted.state / state.relative_to("/var/lib/binderops") / "nodes" / "odd"
    (folder / "logs").mkdir(parents=True)
    (folder / "environment").write_text(render_environment(variables))
    (booted.units / "odd.service").write_text(render_unit(program))
    booted.run("systemctl", "daemon-reload")
    booted.run("systemctl", "start", "odd")
    booted.until(lambda: "inactive" in booted.run("systemctl", "is-active", "odd", check=False), "its end")
    words, environment = json.loads((folder / "logs" / "node.log").read_text())
    assert words == program.arguments
    assert environment.items() >= variables.items()
    told = booted.run("systemctl", "show", "--property=RequiresMountsFor", "--value", "odd")
    assert shlex.split(told.replace("\\$", "$")) == [str(state)]
    assert "odd.service:" not in booted.run("journalctl", "--unit=odd.service", "--priority=warning", "--output=cat")


def test_a_node_and_its_pod(lab: Lab) -> None:
    """One life of a node: each step needs the one before."""
    assert lab.inside("up") is True
    lab.until_ready()
    assert lab.machine.run("systemctl", "is-enabled", UNIT) == "enabled"
    lab.inside("make")
    lab.until_pod_serves(restarts=0)
    assert lab.members(f"system.slice/{UNIT}") == {"binderops.node"}, "the unit's is the node's process alone"
    assert lab.members(f"binderops/{NODE}.lasting") == {"podman", "conmon", "forwarder.py"}
    pod = lab.pod_processes()
    assert len(pod) == 1

    lab.machine.run("systemctl", "restart", UNIT)
    lab.until_ready()
    assert lab.pod_processes() == pod
    lab.machine.run("systemctl", "kill", "--signal=KILL", UNIT)
    lab.machine.until(lambda: lab.state() != "active", "end of the node's process")
    assert lab.serves() and lab.pod_processes() == pod
    lab.until_ready()
    lab.machine.run("systemctl", "stop", UNIT)
    assert (lab.state(), lab.serves(), lab.pod_processes()) == ("inactive", True, pod)
    assert lab.inside("up") is True
    lab.until_ready()
    unit = (lab.machine.units / UNIT).read_text()
    (lab.machine.units / UNIT).write_text("[Unit]\nDescription=of an older version\n")
    lab.machine.run("systemctl", "disable", UNIT)
    assert lab.inside("up") is False, "it runs"
    assert (lab.machine.units / UNIT).read_text() == unit
    assert lab.machine.run("systemctl", "is-enabled", UNIT) == "enabled"
    assert lab.pod_processes() == pod
    assert lab.members(f"binderops/{NODE}.lasting") == {"podman", "conmon", "forwarder.py"}, "its monitor lives"

    lab.machine.cut_power()
    lab.machine.boot()
    lab.until_ready()
    lab.until_pod_serves(restarts=1)
    assert lab.machine.power_off(seconds=60) < 30, "systemd would wait 90 s for the pod's first process"
    lab.machine.boot()
    lab.until_ready()
    lab.until_pod_serves(restarts=2)

    said = lab.machine.run("journalctl", "--unit", UNIT, "--output=cat")
    assert "Started" in said and "left-over" not in said and "remains running" not in said, said
    lab.binderops("down")
    assert (lab.state(), lab.machine.run("systemctl", "is-enabled", UNIT, check=False)) == ("inactive", "disabled")
    assert not lab.serves() and not lab.machine.members("binderops/**")
    lab.binderops("purge")
    assert lab.machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "binderops*") == ""
    assert not list(lab.machine.units.glob("binderops*")) and not list(lab.machine.state.iterdir())
