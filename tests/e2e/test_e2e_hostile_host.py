"""The machine itself, from inside a user's server and from the RUN steps of a build: nothing of it is in reach.

The same program is run on the machine first, and reaches everything: the targets are alive.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import NAME, RUN, STATE
from tests.e2e.hostile import PROBE, Canary, canary
from tests.e2e.launches import Binder, Server, git_spec
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories

from binderops.podman.hooks import INSTANCES

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

# Where the kernel lets its own root not, root of the machine reaches less: what stays out says nothing about a guard.
MAY_BE_MISSING = {"its memory", "its kernel's log", "its disks", "a device made for its disk", "its control groups"} | {
    # Where its kernel was made without them.
    "the host of its virtual machine",
    "io_uring",
    "bpf",
    "userfaultfd",
    "perf events",
}


@pytest.fixture(scope="module")
def planted(deployed: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    folder = tmp_path_factory.mktemp("machine")
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    (database,) = (STATE / "nodes" / NAME / "volumes").glob("*/jupyterhub.sqlite")
    with canary(folder, engine=RUN / NAME / "podman" / "podman.sock", database=database) as made:
        yield made


@pytest.fixture(scope="module")
def alive(planted: Canary) -> set[str]:
    """What the probe reaches on the machine itself."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, planted.argument], capture_output=True, text=True, timeout=60, check=True
    )
    return {name for name, reached in json.loads(done.stdout).items() if reached}


def test_on_the_machine_itself_all_of_it_is_reached(alive: set[str]) -> None:
    assert {"a file of the machine", "a process of the machine", "mounting", "its engine"} <= alive
    assert {"a service on its loopback", "a service on its loopback by IPv6", "a socket without a file"} <= alive
    everything = set(_names())
    assert everything - alive <= MAY_BE_MISSING, everything - alive


def test_a_server_reaches_nothing_of_the_machine(
    deployed: object, binder: Binder, repositories: Repositories, planted: Canary, alive: set[str]
) -> None:
    server = binder.launch(git_spec(repositories.add("host-server", {"index.ipynb": EMPTY_NOTEBOOK})))
    run = f"subprocess.run([sys.executable, '-c', {PROBE!r}, {planted.argument!r}], capture_output=True, text=True)"
    told = json.loads(ast.literal_eval(server.run(f"import subprocess, sys\n{run}.stdout")))
    assert [name for name, reached in told.items() if reached] == []
    assert set(told) >= alive


# Takes every inotify instance there is for it, says how many, and keeps them for a while (s).
TAKER = """\
import ctypes, sys, time
take, count = ctypes.CDLL(None).inotify_init1, 0
while take(0) >= 0:
    count += 1
print(count, flush=True)
time.sleep(float(sys.argv[1]))
"""


def test_limits_that_the_kernel_keeps_by_user_are_a_servers_own(
    deployed: object, binder: Binder, repositories: Repositories
) -> None:
    spec = git_spec(repositories.add("host-users", {"index.ipynb": EMPTY_NOTEBOOK}))
    offender, bystander = binder.launch(spec), binder.launch(spec)
    maps = [server.run("open('/proc/self/uid_map').read().split()") for server in (offender, bystander)]
    firsts = [int(ast.literal_eval(found)[1]) for found in maps]
    assert firsts[0] != firsts[1] and min(firsts) >= 0x80000, "neither the machine's users nor each other's"

    def taken(server: Server, *, seconds: int = 0) -> int:
        run = f"[sys.executable, '-c', {TAKER!r}, '{seconds}'], stdout=subprocess.PIPE, start_new_session=True"
        return int(server.run(f"import subprocess, sys\nint(subprocess.Popen({run}).stdout.readline())"))

    assert 100 < taken(offender, seconds=60) <= INSTANCES
    assert taken(offender) < 10, "the same user has no more"
    assert taken(bystander) > 100
    # Two processes of one user of the machine share what there is.
    own = ["prlimit", "--nofile=20000", "setpriv", "--reuid=61234", "--clear-groups"]
    as_one = [*own, "/usr/bin/python3", "-c", TAKER]  # a venv may be closed to others
    with subprocess.Popen([*as_one, "60"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout and int(first.stdout.readline()) > INSTANCES
        second = subprocess.run([*as_one, "0"], capture_output=True, text=True, timeout=20, check=True)
        first.kill()
    assert second.stdout.strip() == "0"


DOCKERFILE = """\
FROM localhost/binderops/notebook
USER root
COPY probe.py argument.json /probe/
RUN ln -s / /to-root
RUN --mount=type=cache,target=/c \\
    --mount=type=bind,from=localhost/binderops/notebook,source=/,target=/b,rw \\
    python3 /probe/probe.py "$(cat /probe/argument.json)" > /probe/root.json 2> /probe/root.err || true
RUN python3 /probe/probe.py "$(cat /probe/argument.json)" > /probe/plain.json 2> /probe/plain.err || true
RUN env > /probe/environment; cat /proc/self/uid_map > /probe/users; \\
    ls /proc | grep -c '^[0-9]' > /probe/processes; chmod -R a+rX /probe
USER 1000
"""


def test_a_build_reaches_nothing_of_the_machine(
    deployed: object, binder: Binder, repositories: Repositories, planted: Canary, alive: set[str]
) -> None:
    files = {"Dockerfile": DOCKERFILE, "probe.py": PROBE, "argument.json": planted.argument}
    server = binder.launch(git_spec(repositories.add("host-build", files)))
    names = ("root.json", "plain.json", "root.err", "plain.err", "environment", "users", "processes")
    read = f"[open('/probe/' + name).read() for name in {names}]"
    as_root, plain, *complaints, environment, users, processes = ast.literal_eval(server.run(read))
    for told in (as_root, plain):
        assert told, complaints
        assert [name for name, reached in json.loads(told).items() if reached] == []
        assert set(json.loads(told)) >= alive
    assert "CREDENTIAL" not in environment
    assert int(processes) < 6
    assert int(users.split()[1]) >= 0x80000, "ids of this build alone"


def _names() -> list[str]:
    text = PROBE.partition("found = {")[2]
    return [line.split('"')[1] for line in text.splitlines() if line.startswith('    "')]


def test_the_probe_names_what_it_looks_for() -> None:
    assert len(_names()) == 24, Path(__file__).name
