"""What takes too much: processes, memory, disk, log lines, files. The offender ends or is cut, and is named.


`make hostile` sets BINDEROPS_HOSTILE: more files, longer floods.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import NAME, STATE
from tests.e2e.launches import Binder, Server, git_spec
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories
from tests.git.git_server import git

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

Kubectl = Callable[..., str]
LONG = bool(os.environ.get("BINDEROPS_HOSTILE"))
FILES = 100_000 if LONG else 4_000
TREE_BLOB = (64 << 20) if LONG else (7 << 20)  # 160 of them: 10 GB, or enough to pass the limit
FLOOD_SECONDS = 30 if LONG else 2
LOG_BYTES = 64 << 20  # conmon begins a log anew at this size
PROCESSES = 4096
CGROUPS = Path("/sys/fs/cgroup")
BOMB = "sleep 2; f(){ f|f& };f"  # the cell is answered before its own server has no process left for that


@pytest.fixture(scope="module")
def spec(repositories: Repositories) -> str:
    return git_spec(repositories.add("hostile-users", {"index.ipynb": EMPTY_NOTEBOOK}))


@pytest.fixture(scope="module")
def bystander(binder: Binder, spec: str) -> Server:
    """Another user's server, which must go on."""
    return binder.launch(spec)


@pytest.fixture
def offender(binder: Binder, bystander: Server, spec: str, kubectl: Kubectl) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A user's server and its pod, which is removed after the test."""
    server = binder.launch(spec)
    pod = _pod_of(kubectl, server)
    yield server, pod
    kubectl("delete", "pod", pod["metadata"]["name"], "--ignore-not-found", "--grace-period=0", "--force")


def test_a_fork_bomb_ends_at_the_pods_limit(
    offender: tuple[Server, dict[str, Any]], bystander: Server, binder: Binder, kubectl: Kubectl
) -> None:
    server, pod = offender
    group = _group(pod, "pids")
    # In force before anything is set off.
    assert int((group / "pids.max").read_text()) == PROCESSES
    _start(server, "sh", "-c", BOMB)
    until(lambda: _stopped(group) or _oom_kills(pod) > 0, "the bomb to reach a limit", timeout=60)
    assert int((group / "pids.current").read_text()) <= PROCESSES
    assert bystander.run("6 * 7") == "42"
    assert subprocess.run(["true"], timeout=10, check=False).returncode == 0
    assert _seconds_of_a_page(binder) < 10
    until(
        lambda: bool(_reasons(kubectl, pod) & {"TooManyProcesses", "OOMKilling"}),
        "the offender to be named",
        timeout=60,
    )


def test_a_memory_hog_ends_alone_and_is_named(
    offender: tuple[Server, dict[str, Any]], bystander: Server, kubectl: Kubectl
) -> None:
    server, pod = offender
    limit = _memory_limit(pod)
    assert limit == 1 << 30
    hog = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', \"x = b'x' * (3 << 30)\"]).returncode"
    assert server.run(hog) == "-9"
    assert _oom_kills(pod) >= 1
    assert server.run("'goes on'") == "'goes on'"
    assert bystander.run("6 * 7") == "42"
    until(lambda: "OOMKilling" in _reasons(kubectl, pod), "the offender to be named", timeout=60)
    assert "OOMKilling" not in _reasons(kubectl, _pod_of(kubectl, bystander))


def test_a_server_that_fills_the_disk_is_evicted_and_named(
    offender: tuple[Server, dict[str, Any]], bystander: Server, kubectl: Kubectl
) -> None:
    server, pod = offender
    assert pod["spec"]["containers"][0]["resources"]["limits"]["ephemeral-storage"] == "512Mi"
    name = pod["metadata"]["name"]
    _start(server, "dd", "if=/dev/zero", "of=big", "bs=1M", "count=1500")

    def told() -> list[str]:
        fields = f"reason=Evicted,involvedObject.name={name}"
        events = json.loads(kubectl("get", "events", "--field-selector", fields, "-o", "json"))["items"]
        return [event["message"] for event in events]

    until(lambda: bool(told()), f"{name} to be evicted", timeout=60)
    assert "ephemeral local storage usage exceeds the total limit of containers 512Mi" in told()[0]
    assert bystander.run("6 * 7") == "42"


@pytest.mark.parametrize(
    ("name", "step", "explanation"),
    [
        ("memory", "python3 -c \"x = b'x' * (4 << 30)\"", "out-of-memory"),
        ("disk", "dd if=/dev/zero of=/tmp/big bs=1M count=3000 && sleep 60", "disk-limit"),
    ],
)
def test_a_build_that_takes_too_much_fails_and_says_what(
    binder: Binder, repositories: Repositories, bystander: Server, name: str, step: str, explanation: str
) -> None:
    dockerfile = f"FROM localhost/binderops/notebook\nRUN {step}\n"
    events = list(binder.stream(git_spec(repositories.add(f"hostile-{name}", {"Dockerfile": dockerfile}))))
    assert events[-1]["phase"] == "failed"
    assert events[-1]["explanation"]["id"] == explanation, events[-3:]
    assert bystander.run("6 * 7") == "42"


@pytest.mark.skipif(not LONG, reason="make hostile: the server's bomb is the short form")
def test_a_fork_bomb_in_a_build_ends_at_the_pods_limit_and_is_named(
    binder: Binder, repositories: Repositories, bystander: Server, kubectl: Kubectl
) -> None:
    dockerfile = (
        "FROM localhost/binderops/notebook\n"
        # It waits until the test has seen the limit in force.
        "RUN sleep 4; f(){ f|f& };f; sleep 5; exit 1\n"
    )
    limits: list[int] = []
    said = ""
    for event in binder.stream(git_spec(repositories.add("hostile-forks", {"Dockerfile": dockerfile}))):
        said += str(event.get("message"))
        if "STEP 2" in said and not limits:
            pods = json.loads(kubectl("get", "pods", "-l", "component=binderhub-build", "-o", "json"))["items"]
            running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
            limits = [int((_group(pod, "pids") / "pids.max").read_text()) for pod in running]
    assert limits == [PROCESSES]
    assert event["phase"] == "failed"
    assert event["explanation"]["id"] == "processes", said
    assert bystander.run("6 * 7") == "42"


def test_a_flood_of_log_lines_of_a_server_is_cut_and_slows_nobody(
    offender: tuple[Server, dict[str, Any]], bystander: Server, binder: Binder, kubectl: Kubectl
) -> None:
    server, pod = offender
    folder = STATE / "nodes" / NAME / "logs" / f"binder_{pod['metadata']['name']}_{pod['metadata']['uid']}"

    def size() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    before = size()
    _start(server, "sh", "-c", f"exec timeout {FLOOD_SECONDS} yes > /proc/1/fd/1")
    until(lambda: size() - before > 1 << 20, "the flood to begin", timeout=30)
    end, largest, slowest = time.monotonic() + FLOOD_SECONDS, 0, 0.0
    while time.monotonic() < end:
        largest, slowest = max(largest, size()), max(slowest, _seconds_of_a_page(binder))
    assert largest <= LOG_BYTES + (1 << 20)
    assert slowest < 5
    assert bystander.run("6 * 7") == "42"


def test_a_flood_of_log_lines_of_a_build_reaches_the_page_in_part_and_slows_nobody(
    binder: Binder, repositories: Repositories, bystander: Server
) -> None:
    dockerfile = f"FROM localhost/binderops/notebook\nRUN timeout {FLOOD_SECONDS} yes a line of a flood; echo over\n"
    count, slowest, last, looked = 0, 0.0, {}, 0.0
    for event in binder.stream(git_spec(repositories.add("hostile-flood", {"Dockerfile": dockerfile}))):
        count, last = count + 1, event
        if time.monotonic() - looked > 1:
            slowest, looked = max(slowest, _seconds_of_a_page(binder)), time.monotonic()
    assert last["phase"] == "ready", last
    assert slowest < 5
    assert count < 40_000 * (FLOOD_SECONDS + 1)
    assert bystander.run("6 * 7") == "42"


def test_a_huge_tree_from_a_small_pack_is_refused_by_name(
    binder: Binder, repositories: Repositories, bystander: Server
) -> None:
    url = repositories.add("hostile-tree", {"index.ipynb": EMPTY_NOTEBOOK})
    _grow(repositories.root / "hostile-tree", blob=b"\0" * TREE_BLOB, files=160)
    events = list(binder.stream(git_spec(url)))
    assert events[-1]["phase"] == "failed"
    assert events[-1]["explanation"]["id"] == "disk-limit", events[-3:]
    assert bystander.run("6 * 7") == "42"


def test_a_repository_of_very_many_files_is_built(binder: Binder, repositories: Repositories) -> None:
    url = repositories.add("hostile-files", {"index.ipynb": EMPTY_NOTEBOOK})
    _grow(repositories.root / "hostile-files", blob=b"small", files=FILES)
    server = binder.launch(git_spec(url))
    assert server.run("import os\nlen(os.listdir('many'))") == str(FILES)


def _start(server: Server, *command: str) -> None:
    """Starts a program that outlives the kernel that starts it."""
    server.run(f"import subprocess\nsubprocess.Popen({command!r}, start_new_session=True).pid")


def _grow(repository: Path, *, blob: bytes, files: int) -> None:
    """One more commit: a folder `many`, each of its files the same object, which git stores once."""
    content = repository.parent / "blob"
    content.write_bytes(blob)
    name = git(repository, "hash-object", "-w", str(content))
    content.unlink()
    entries = "".join(f"100644 blob {name}\t{index:06d}\n" for index in range(files))
    many = _made(repository, "mktree", given=entries)
    tree = _made(repository, "mktree", given=git(repository, "ls-tree", "HEAD") + f"\n040000 tree {many}\tmany\n")
    commit = git(repository, "commit-tree", tree, "-p", "HEAD", "-m", "many")
    git(repository, "update-ref", "refs/heads/main", commit)


def _made(repository: Path, *arguments: str, given: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def _pod_of(kubectl: Kubectl, server: Server) -> dict[str, Any]:
    found = json.loads(kubectl("get", "pods", "-l", f"hub.jupyter.org/username={server.user}", "-o", "json"))["items"]
    assert len(found) == 1
    pod: dict[str, Any] = found[0]
    return pod


def _reasons(kubectl: Kubectl, pod: dict[str, Any]) -> set[str]:
    """Of the Events about a pod, as an operator reads them."""
    fields = f"involvedObject.uid={pod['metadata']['uid']}"
    events = json.loads(kubectl("get", "events", "--field-selector", fields, "-o", "json"))["items"]
    return {str(event["reason"]) for event in events}


def _group(pod: dict[str, Any], controller: str) -> Path:
    top = CGROUPS / controller if (CGROUPS / controller).is_dir() else CGROUPS
    return top / "binderops" / NAME / str(pod["metadata"]["uid"])


def _container_group(pod: dict[str, Any], controller: str) -> Path:
    return next(_group(pod, controller).glob("libpod-*"))


def _stopped(group: Path) -> bool:
    return any(
        int(line.split()[1]) > 0 for file in group.rglob("pids.events") for line in file.read_text().splitlines()
    )


def _oom_kills(pod: dict[str, Any]) -> int:
    group = _container_group(pod, "memory")
    file = next(path for path in (group / "memory.oom_control", group / "memory.events") if path.exists())
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("oom_kill "))


def _memory_limit(pod: dict[str, Any]) -> int:
    group = _container_group(pod, "memory")
    file = next(path for path in (group / "memory.limit_in_bytes", group / "memory.max") if path.exists())
    return int(file.read_text())


def _seconds_of_a_page(binder: Binder) -> float:
    """How long the launch page takes, through nginx."""
    started = time.monotonic()
    url = httpx.URL(binder.url)
    answer = httpx.get(f"http://127.0.0.1:{url.port}/", headers={"Host": f"{url.host}:{url.port}"}, timeout=60)
    assert answer.status_code == 200
    return time.monotonic() - started
