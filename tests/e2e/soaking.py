"""What a deployment holds at one moment, in figures that can be compared: memory, open files, kernel, engine, disk."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from bench.processes import programs, pss
from tests.e2e.conftest import DOMAIN, NAME, NAMESPACE, PORT, RUN, STATE
from tests.e2e.killing import Killer
from tests.e2e.listing import CGROUPS, running

NODE, SOCKETS = STATE / "nodes" / NAME, RUN / NAME
KINDS = "pods,secrets,configmaps,endpointslices,replicasets,serviceaccounts,leases,persistentvolumes,networkpolicies"
MIB = 1 << 20
Kubectl = Callable[..., str]
GONE = 180.0
"""Seconds until nothing of the last launches is left; a nameless image stays for 150."""
Figures = dict[tuple[str, str], float]
"""(what, of what) -> how much: MiB for memory and disk, a number for all else."""


def measure(kubectl: Kubectl) -> Figures:
    """Everything, as it is now. Memory last: asking costs some."""
    found: Figures = {}
    for what, figures in (
        ("disk", disk()),
        ("kernel", _kernel()),
        ("engine", _engine()),
        ("objects", _objects(kubectl)),
        *_processes(),
    ):
        found |= {(what, name): amount for name, amount in figures.items()}
    return found


def _processes() -> list[tuple[str, dict[str, float]]]:
    found = programs(NODE, SOCKETS)
    memory = {name: sum(map(pss, processes)) / MIB for name, processes in found.items()}
    memory["all of it"] = sum(memory.values())
    files = {name: sum(map(_open_files, processes)) for name, processes in found.items()}
    counts = {name: float(len(processes)) for name, processes in found.items()}
    return [("processes", counts), ("open files", files), ("memory", memory)]


def _open_files(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(process.num_fds())
    return 0.0


def _kernel() -> dict[str, float]:
    """By kind as the listing of `purge` has them; the node's table in lines, mounts as its engine sees them."""
    kinds = Counter(line.split()[0] for line in running(NAME, (NODE, SOCKETS)) if not line.startswith("process "))
    table = subprocess.run(
        ["nft", "list", "table", "ip", f"binderops-{NAME}"], capture_output=True, text=True, timeout=30, check=True
    )
    engine = int((SOCKETS / "podman" / "podman.pid").read_text())
    mounts = [line.split()[4] for line in Path(f"/proc/{engine}/mountinfo").read_text().splitlines()]
    own = (str(NODE), str(SOCKETS), f"/run/netns/bo-{NAME}-")
    return {
        **{f"{kind}s": float(count) for kind, count in kinds.items()},
        "lines of the node's nft table": float(len(table.stdout.splitlines())),
        "mounts of the engine": float(len([point for point in mounts if point.startswith(own)])),
        "cgroups": float(sum(1 for top in CGROUPS.glob(f"*/binderops/{NAME}") for _ in _folders(top))),
    }


def _folders(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_dir()]


def engine() -> httpx.Client:
    """The API of the node's engine."""
    transport = httpx.HTTPTransport(uds=str(SOCKETS / "podman" / "podman.sock"))
    return httpx.Client(transport=transport, base_url="http://d/v4.0.0/libpod/", timeout=60)


def _engine() -> dict[str, float]:
    with engine() as client:
        containers = client.get("containers/json", params={"all": "true"}).raise_for_status().json()
        images = client.get("images/json").raise_for_status().json()
        volumes = client.get("volumes/json").raise_for_status().json()
    own = [image for image in images if not image.get("ReadOnly")]
    return {
        "containers": float(len(containers)),
        "images": float(len(own)),
        "images without a name": float(len([image for image in own if image.get("Dangling")])),
        "volumes": float(len(volumes)),
    }


def _objects(kubectl: Kubectl) -> dict[str, float]:
    names = kubectl("get", KINDS, "--all-namespaces", "-o", "name", "--ignore-not-found").split()
    kinds = Counter(name.partition("/")[0].partition(".")[0] for name in names)
    return {
        **{kind: float(count) for kind, count in kinds.items()},
        "users of the hub": float(len(Hub(kubectl).users())),
    }


def disk() -> dict[str, float]:
    """MiB in each place that a node writes to."""
    volumes = {f"volume {path.name.split('_')[1]}": [path] for path in (NODE / "volumes").iterdir()}
    places = {
        "store": list(NODE.glob("store.sqlite*")),
        "logs": [NODE / "logs"],
        "pods": [NODE / "pods"],
        "tmp": [NODE / "tmp"],
        "engine": [path for path in (NODE / "podman").iterdir() if path.name != "storage"],
        "image store": [NODE / "podman" / "storage"],
        "run": [SOCKETS],
        **volumes,
    }
    return {name: sum(map(_bytes, paths)) / MIB for name, paths in places.items()}


def registry_images() -> int:
    """How many images of users' repositories the registry holds."""
    return len(list(NODE.glob("volumes/*/docker/registry/v2/repositories/r2d-*/_manifests/tags/*")))


def _bytes(path: Path) -> float:
    done = subprocess.run(
        ["du", "--summarize", "--one-file-system", "--block-size=1", str(path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return float(done.stdout.split()[0]) if done.stdout else 0.0


def nobody_left(kubectl: Any) -> None:
    """Wait until no server and no build is left, nor anything of theirs that the node removes a little later."""
    hub = Hub(kubectl)
    for user in hub.users():
        hub.end(user)

    def left() -> list[str]:
        pods: list[str] = kubectl(
            "get", "pods", "-o", "name", "-l", "component in (singleuser-server, binderhub-build)"
        ).split()
        users = [f"user {name}" for name in hub.users()]
        return pods + users + Killer(kubectl, []).leftovers(keep="nobody")

    deadline = time.monotonic() + GONE
    while what := left():
        assert time.monotonic() < deadline, f"{GONE:.0f} s after the last launch: {what}"
        time.sleep(0.5)
    # As when their hour is over, which the day of these minutes does not wait for: hub and node hold them until then.
    # In one request: kubectl's own `--all` asks for each, and takes minutes for some thousands.
    kubectl("delete", "--raw", f"/api/v1/namespaces/{NAMESPACE}/events", timeout=120)


@dataclass(frozen=True)
class Hub:
    """The hub's API, as the binder and the culler use it."""

    kubectl: Kubectl

    def users(self) -> list[str]:
        """Everybody that it knows."""
        with self._client() as client:
            return [str(user["name"]) for user in client.get("/users").raise_for_status().json()]

    def add(self, user: str) -> None:
        """One more user, without a server."""
        with self._client() as client:
            client.post(f"/users/{user}").raise_for_status()

    def end(self, user: str) -> None:
        """Ends a user's server and forgets the user, as the culler does."""
        with self._client() as client:
            answer = client.delete(f"/users/{user}")
            assert answer.status_code in {202, 204, 404}, answer.text

    def _client(self) -> httpx.Client:
        secret: Mapping[str, Any] = json.loads(self.kubectl("get", "secret", "hub", "-o", "json"))["data"]
        token = base64.b64decode(secret["hub.services.binder.apiToken"]).decode()
        headers = {"Authorization": f"token {token}", "Host": f"hub.{DOMAIN}:{PORT}"}
        url = f"http://127.0.0.1:{PORT}/hub/api"
        return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60)


# --- what may be left ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """How much was done between two measures; `is_long`: so much that every budget was reached."""

    launches: int
    builds: int
    is_long: bool


@dataclass(frozen=True)
class Row:
    """One figure of both moments, and what it may be at the end."""

    what: str
    name: str
    before: float
    after: float
    allowed: float

    @property
    def is_kept(self) -> bool:
        """Whether it came back."""
        return self.after <= self.allowed


def compare(before: Figures, after: Figures, day: Day) -> list[Row]:
    """Row by row; what was not there before counts as 0."""
    keys = sorted({*before, *after})
    return [
        Row(*key, before.get(key, 0.0), after.get(key, 0.0), _allowed(*key, before.get(key, 0.0), day)) for key in keys
    ]


def _allowed(what: str, name: str, before: float, day: Day) -> float:
    """Memory: allocators keep what a busy hour took. Files: connections that are kept open, never one for each launch.

    Disk: see each. All else is as it was.
    """
    if what == "memory":
        events = min(HUB_EVENTS, day.launches * 0.1) if name in {"hub", "all of it"} else 0.0
        return before + max(12.0, before * 0.15) + events
    if what == "open files":
        # The registry's clients keep their connections open, and there may have been none before.
        kept = 12.0 if name == "registry" else 0.0
        return before + kept + min(max(16.0, before * 0.2), day.launches * 0.75)
    if what == "disk":
        return before + _disk_allowed(name, before, day)
    if (what, name) == ("engine", "images"):
        return before + day.builds
    return before


def _disk_allowed(name: str, before: float, day: Day) -> float:
    grows = {
        # Events stay for an hour, and a database keeps the pages that it once needed.
        "store": 4 + 0.04 * day.launches,
        "volume hub-db-dir": 2.0,
        # What runs on writes on: below the budgets of logs.
        "logs": 4 + 0.05 * day.launches,
        "volume registry": LIMIT_REGISTRY - before if day.is_long else PER_BUILD * day.builds,
        "image store": LIMIT_IMAGES - before if day.is_long else PER_BUILD * day.builds,
    }
    return grows.get(name, 2.0)


HUB_EVENTS = 15.0
"""MiB: KubeSpawner keeps Events for an hour, 50 KB a launch; the allocator gives back little and uses it again."""
PER_BUILD = 8.0
"""MiB that an image of the soak's repositories takes, in the registry and on the machine."""
LIMIT_REGISTRY, LIMIT_IMAGES = 260.0, 130.0
"""MiB that a long soak's deployment is told to keep (`values`, `imageBudget`)."""


def table_of(rows: list[Row]) -> str:
    """As Markdown, for people and for the page."""
    lines = ["| what | of what | before | after | allowed | |", "|---|---|---|---|---|---|"]
    for row in rows:
        told = "" if row.is_kept else "**more**"
        figures = " | ".join(
            f"{amount:.0f}" if amount >= 10 else f"{amount:.1f}" for amount in (row.before, row.after, row.allowed)
        )
        lines.append(f"| {row.what} | {row.name} | {figures} | {told} |")
    return "\n".join(lines)
